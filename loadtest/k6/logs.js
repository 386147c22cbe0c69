// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Log shipping under load: every request has a URI of its own, and its line arrives.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { ORIGINS, get, options as all, read, steady, summary } from './lib/run.js';

const RUN = Date.now().toString(36);
const PATIENCE = 20; // seconds without a line that end the wait for more
const sent = new Counter('requests_logged');
const lost = new Counter('lost_lines');

export const options = all(
  { requests: steady('request', 200, 20) },
  { lost_lines: ['count==0'], http_req_failed: ['rate==0'], 'http_req_duration{name:logged}': ['p(99)<250'] },
);
options.teardownTimeout = '5m';

const asked = () => ORIGINS.slice(0, 2).map((o) => read(`${o}/_origin/stats`).requests).reduce((a, b) => a + b);

export function setup() {
  http.del(`${ORIGINS[2]}/ingest`, null, { tags: { name: 'ingest' } });
  return asked();
}

export function request() {
  const answer = get(`/bytes/128?run=${RUN}-${exec.scenario.iterationInTest}`, 'logged');
  check(answer, { 'status is 200': (a) => a.status === 200 });
  sent.add(1);
}

// The upstreams know how many requests there were, and the receiver how many different lines.
export function teardown(before) {
  const wanted = asked() - before;
  let arrived = 0;
  for (let silent = 0; silent < PATIENCE && arrived < wanted; silent++) {
    sleep(1);
    const now = read(`${ORIGINS[2]}/ingest`).distinct;
    silent = now > arrived ? 0 : silent;
    arrived = now;
  }
  lost.add(Math.max(0, wanted - arrived));
}

export const handleSummary = summary('logs');
