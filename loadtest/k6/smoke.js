// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Does it answer at all? A few requests a second.

import { options as all, steady, summary } from './lib/run.js';

export { request } from './lib/traffic.js';

export const options = all(
  { smoke: steady('request', 5, 10) },
  { http_req_failed: ['rate==0'], http_req_duration: ['p(99)<1000'] },
);

export const handleSummary = summary('smoke');
