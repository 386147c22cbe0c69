// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Where is the end? The rate rises until p99 or failures say so; the summary's rate is what it took.

import { check } from 'k6';
import exec from 'k6/execution';
import { Counter, Gauge } from 'k6/metrics';
import { SCALE, client, get, options as all, ramp, summary } from './lib/run.js';

const FIRST = 50;
const MOST = Number(__ENV.RATE || 20000);
const LENGTH = 300;
const offered = new Gauge('offered_in_the_end'); // requests a second
const inTime = new Counter('in_time');

// What arrives before the rate is that of an ordinary day, 300 a second, has to be answered within a second.
const DAY = 300;
const LEAST = Math.round((SCALE * LENGTH * DAY * DAY) / (2 * MOST));

export const options = all(
  { breakpoint: ramp('request', FIRST, [[MOST, LENGTH]]) },
  {
    http_req_failed: [{ threshold: 'rate<0.01', abortOnFail: true, delayAbortEval: '5s' }],
    http_req_duration: [{ threshold: 'p(99)<1000', abortOnFail: true, delayAbortEval: '5s' }],
    dropped_iterations: [{ threshold: 'count<1000', abortOnFail: true }],
    in_time: [`count>${LEAST}`],
  },
);

export function request() {
  offered.add(FIRST + (MOST - FIRST) * exec.scenario.progress);
  const answer = get('/bytes/1024', 'bytes', client(__ITER));
  inTime.add(answer.status === 200 && answer.timings.duration < 1000 ? 1 : 0);
  check(answer, { 'no answer is wrong': (a) => a.status !== 200 || a.headers['X-Origin'] !== undefined });
}

export const handleSummary = summary('breakpoint');
