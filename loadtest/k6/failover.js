// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// An upstream dies under load: every GET is answered, by another one where need be. The runner kills the last upstream a
// third of the way; by hand, kill one yourself.

import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { client, get, options as all, steady, summary } from './lib/run.js';

const failed = new Counter('failed_gets');

export const options = all(
  { requests: steady('request', 100, 30) },
  { failed_gets: ['count==0'], http_req_failed: ['rate==0'], http_req_duration: ['p(99)<1000'] },
);

export function request() {
  const answer = get('/bytes/1024', 'bytes', client(__ITER));
  failed.add(answer.status === 200 ? 0 : 1);
  check(answer, { 'status is 200': (a) => a.status === 200 });
}

export const handleSummary = summary('failover');
