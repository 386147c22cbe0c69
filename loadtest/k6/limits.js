// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Limits under load: every client sends half as much again as its 20 requests a minute, at once; exactly 20 pass.

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { TARGET, options as all, steady, summary } from './lib/run.js';

const LIMIT = 20; // as in limits.caddyfile
const limited = new Counter('limited');
const over = new Counter('over_limit'); // answers beyond a client's limit
const under = new Counter('under_limit'); // refusals before it was used up

export const options = all(
  { clients: steady('burst', 10, 20) },
  { over_limit: ['count==0'], under_limit: ['count==0'], limited: ['count>0'], http_req_duration: ['p(99)<500'] },
);

http.setResponseCallback(http.expectedStatuses(200, 429));

export function burst() {
  const n = exec.scenario.iterationInTest; // a client of its own for each
  const headers = { 'X-Forwarded-For': `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}` };
  const asks = Array.from({ length: LIMIT * 1.5 }, () => ['GET', `${TARGET}/bytes/128`, null, { headers, tags: { name: 'burst' } }]);
  const answers = http.batch(asks);
  const passed = answers.filter((a) => a.status === 200).length;
  const refused = answers.filter((a) => a.status === 429);
  limited.add(refused.length);
  over.add(Math.max(0, passed - LIMIT));
  under.add(Math.max(0, LIMIT - passed));
  check(refused, { 'a refusal says when to come back': (all) => all.every((a) => Number(a.headers['Retry-After']) > 0) });
}

export const handleSummary = summary('limits');
