// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Where is the end? The rate rises until p99 or failures say so; the summary's rate is what it took.

import { options as all, ramp, summary } from './lib/run.js';

export { request } from './lib/traffic.js';

const MOST = Number(__ENV.RATE || 20000);

export const options = all(
  { breakpoint: ramp('request', 50, [[MOST, 300]]) },
  {
    http_req_failed: [{ threshold: 'rate<0.01', abortOnFail: true, delayAbortEval: '5s' }],
    http_req_duration: [{ threshold: 'p(99)<1000', abortOnFail: true, delayAbortEval: '5s' }],
    dropped_iterations: [{ threshold: 'count<1000', abortOnFail: true }],
  },
);

export const handleSummary = summary('breakpoint');
