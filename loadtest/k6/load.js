// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// An ordinary day: RATE requests a second, reached slowly and kept.

import { options as all, ramp, summary } from './lib/run.js';

export { request } from './lib/traffic.js';

const RATE = Number(__ENV.RATE || 300);

export const options = all(
  { load: ramp('request', 1, [[RATE, 20], [RATE, 90], [0, 10]]) },
  { http_req_failed: ['rate==0'], http_req_duration: ['p(99)<250'] },
);

export const handleSummary = summary('load');
