// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Upstream selection under load: of two upstreams the first takes 20 times as long; it gets a small part of the requests,
// and their latency is nearly that of the other.

import { check } from 'k6';
import { Rate } from 'k6/metrics';
import { ORIGINS, get, options as all, set, steady, summary } from './lib/run.js';

const slow = new Rate('to_the_slow_one');

export const options = all(
  { requests: steady('request', 100, 30) },
  { to_the_slow_one: ['rate<0.1'], http_req_failed: ['rate==0'], 'http_req_duration{name:bytes}': ['p(90)<100'] },
);

export function setup() {
  set(ORIGINS[0], { latency: 'const:200ms' });
  set(ORIGINS[1], { latency: 'const:10ms' });
}

export function teardown() {
  ORIGINS.slice(0, 2).forEach((origin) => set(origin, {}, 'PUT'));
}

export function request() {
  const answer = get('/bytes/512', 'bytes');
  slow.add(answer.headers['X-Origin'] === 'first');
  check(answer, { 'status is 200': (a) => a.status === 200 });
}

export const handleSummary = summary('upstreams');
