// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// The traffic of the scenarios that differ only in how much of it arrives.

import { check } from 'k6';
import { client, get } from './run.js';

// request is one GET of a small body from a client of many.
export function request() {
  const answer = get('/bytes/1024', 'bytes', client(__ITER));
  check(answer, { 'status is 200': (a) => a.status === 200, 'an upstream answered': (a) => a.headers['X-Origin'] !== undefined });
}
