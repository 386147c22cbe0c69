// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// More than an ordinary day, in steps, and back: it may become slow, it may not fail, and it recovers.

import { options as all, ramp, summary } from './lib/run.js';

export { request } from './lib/traffic.js';

const RATE = Number(__ENV.RATE || 300);

export const options = all(
  {
    stress: ramp('request', RATE, [[RATE, 20], [2 * RATE, 30], [3 * RATE, 30], [4 * RATE, 30], [RATE, 10]]),
    recovered: ramp('request', RATE, [[RATE, 20]], { startTime: `${Math.round(125 * Number(__ENV.SCALE || 1))}s` }),
  },
  {
    http_req_failed: ['rate<0.001'],
    'http_req_duration{scenario:stress}': ['p(99)<2000'],
    'http_req_duration{scenario:recovered}': ['p(99)<250'],
    dropped_iterations: ['count<1000'],
  },
);

export const handleSummary = summary('stress');
