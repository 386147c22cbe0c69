// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Idempotency keys under load: every order is sent three times, twice at once and once more after; it takes effect once.

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { ORIGINS, TARGET, options as all, read, steady, summary } from './lib/run.js';

const RUN = Date.now().toString(36);
const replayed = new Counter('replayed');
const duplicates = new Counter('duplicate_effects');
const unplaced = new Counter('lost_effects');

export const options = all(
  { orders: steady('order', 50, 20) },
  { replayed: ['count>0'], duplicate_effects: ['count==0'], lost_effects: ['count==0'], http_req_duration: ['p(99)<1000'] },
);

// 409 is the answer to the second of two at once.
http.setResponseCallback(http.expectedStatuses(200, 201, 409));

export function setup() {
  http.del(`${ORIGINS[0]}/orders`, null, { tags: { name: 'orders' } });
}

export function order() {
  const params = { headers: { 'Idempotency-Key': `${RUN}-${exec.scenario.iterationInTest}` }, tags: { name: 'order' } };
  const send = ['POST', `${TARGET}/orders`, '{"item":1}', params];
  const both = http.batch([send, send]);
  const after = http.post(`${TARGET}/orders`, '{"item":1}', params);
  unplaced.add(both.some((a) => a.status < 300) ? 0 : 1);
  for (const answer of both.concat([after])) {
    replayed.add(answer.headers['Idempotent-Replayed'] === 'true' ? 1 : 0);
  }
  check(after, { 'the order is confirmed again': (a) => a.status < 300 && a.headers['Idempotent-Replayed'] === 'true' });
}

// The upstream counts what really happened.
export function teardown() {
  duplicates.add(read(`${ORIGINS[0]}/orders`).duplicates);
}

export const handleSummary = summary('idempotency');
