// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Ten times as much within two seconds, and then nothing special again.

import { options as all, ramp, summary } from './lib/run.js';

export { request } from './lib/traffic.js';

const RATE = Number(__ENV.RATE || 150);

export const options = all(
  { spike: ramp('request', RATE, [[RATE, 10], [10 * RATE, 2], [10 * RATE, 10], [RATE, 2], [RATE, 30]]) },
  { http_req_failed: ['rate<0.001'], http_req_duration: ['p(90)<1000'], dropped_iterations: ['count<1000'] },
);

export const handleSummary = summary('spike');
