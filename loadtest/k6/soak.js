// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// The same for ten minutes (or MINUTES): what leaks shows in the proxy's memory and goroutines, which the operator watches
// at /metrics of the admin endpoint; here they may not have grown by half from the second minute to the end.

import http from 'k6/http';
import { Trend } from 'k6/metrics';
import { sleep } from 'k6';
import { ADMIN, SCALE, options as all, seconds, steady, summary } from './lib/run.js';

export { request } from './lib/traffic.js';

const RATE = Number(__ENV.RATE || 300);
const LENGTH = 60 * Number(__ENV.MINUTES || 10) * SCALE; // in seconds
// What is compared with: a minute has filled the collector's headroom once.
const FILLED = Math.min(60, LENGTH / 2);
const goroutines = new Trend('goroutines_over_start');
const memory = new Trend('resident_over_start');

export const options = all(
  {
    // Always as many connections, whatever the machine does meanwhile: they are goroutines and memory of the proxy.
    soak: steady('request', RATE, LENGTH / SCALE, { preAllocatedVUs: 2 * RATE, maxVUs: 2 * RATE }),
    watch: { executor: 'constant-vus', exec: 'watch', vus: 1, duration: seconds(LENGTH / SCALE) },
  },
  {
    'http_req_failed{scenario:soak}': ['rate==0'],
    'http_req_duration{scenario:soak}': ['p(99)<250'],
    goroutines_over_start: ['p(99)<1.5'],
    resident_over_start: ['p(99)<1.5'],
  },
);

let begun = 0;
let first;

// watch compares with what was there in the beginning.
export function watch() {
  begun = begun || Date.now();
  const text = http.get(`${ADMIN}/metrics`, { responseType: 'text', tags: { name: 'metrics' } }).body;
  const figure = (name) => Number((text.match(new RegExp(`^${name} (\\S+)`, 'm')) || [])[1]);
  const now = { goroutines: figure('go_goroutines'), memory: figure('process_resident_memory_bytes') };
  if (Date.now() - begun > 1000 * FILLED) {
    first = first || now;
    goroutines.add(now.goroutines / first.goroutines);
    memory.add(now.memory / first.memory);
  }
  sleep(1);
}

export const handleSummary = summary('soak');
