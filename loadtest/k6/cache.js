// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// The cache under load: what may be kept is answered from it, what may not never is, and a copy is the original's.

import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';
import { get, options as all, steady, summary } from './lib/run.js';

const hits = new Rate('hits');
const wrong = new Counter('wrong_hits'); // hits of what must not be kept

export const options = all(
  { kept: steady('kept', 200, 20), personal: steady('personal', 50, 20) },
  { hits: ['rate>0.9'], wrong_hits: ['count==0'], http_req_failed: ['rate==0'], 'http_req_duration{scenario:kept}': ['p(99)<250'] },
);

const isHit = (answer) => /;\s*hit\b/.test(answer.headers['Cache-Status'] || '');

export function kept() {
  const answer = get(`/cache/max-age?size=1024&n=${__ITER % 20}`, 'max-age');
  hits.add(isHit(answer));
  check(answer, { 'the cache says what it did': (a) => a.headers['Cache-Status'] !== undefined });
}

// personal asks for what a shared cache must not answer, as somebody who has a cookie.
export function personal() {
  const kind = ['private', 'no-store'][__ITER % 2];
  wrong.add(isHit(get(`/cache/${kind}`, kind, { Cookie: `user=${__ITER}` })) ? 1 : 0);
}

export const handleSummary = summary('cache');
