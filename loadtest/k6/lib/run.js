// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// What all scenarios share: where the proxy is, how requests arrive, what has to hold, and the summary.

import http from 'k6/http';

// TARGET is the proxy, ORIGINS the upstreams' own addresses (to set faults and read counters), ADMIN the proxy's admin
// endpoint.
export const TARGET = __ENV.TARGET || 'http://127.0.0.1:8080';
export const ORIGINS = (__ENV.ORIGINS || 'http://127.0.0.1:9001').split(',');
export const ADMIN = __ENV.ADMIN || 'http://127.0.0.1:2019';

// SCALE shortens every scenario: 0.1 is a tenth of its time.
export const SCALE = Number(__ENV.SCALE || 1);

// seconds is a time of the scenario, as the run's scale makes it; never under one.
export function seconds(n) {
  return `${Math.max(1, Math.round(n * SCALE))}s`;
}

// steady sends so many iterations a second whatever the answers take.
export function steady(exec, rate, length, more) {
  return Object.assign(
    { executor: 'constant-arrival-rate', exec, rate, timeUnit: '1s', duration: seconds(length), preAllocatedVUs: 50, maxVUs: 1000 },
    more,
  );
}

// ramp goes from rate to rate: pairs of [rate, seconds].
export function ramp(exec, from, stages, more) {
  return Object.assign(
    {
      executor: 'ramping-arrival-rate', exec, startRate: from, timeUnit: '1s', preAllocatedVUs: 100, maxVUs: 2000,
      stages: stages.map(([target, length]) => ({ target, duration: seconds(length) })),
    },
    more,
  );
}

// options joins what a scenario wants with what always has to hold. dropped_iterations above its limit means that the
// generator, not the proxy, was the bottleneck: the run says nothing then.
export function options(scenarios, thresholds) {
  return {
    scenarios,
    discardResponseBodies: true,
    summaryTrendStats: ['min', 'med', 'p(90)', 'p(99)', 'p(99.9)', 'max', 'count'],
    thresholds: Object.assign({ checks: ['rate>0.999'], dropped_iterations: ['count<50'] }, thresholds),
  };
}

// get asks the proxy. The name keeps the number of metrics small, however many URIs there are.
export function get(path, name, headers) {
  return http.get(TARGET + path, { tags: { name }, headers });
}

// client is an address for documentation (RFC 5737), of 256 that differ; the proxies of these scenarios trust this
// machine's X-Forwarded-For.
export function client(n) {
  return { 'X-Forwarded-For': `198.51.100.${n % 256}` };
}

// set changes the settings of an upstream, and fails the run if that fails.
export function set(origin, settings, method = 'PATCH') {
  const answer = http.request(method, `${origin}/_origin/settings`, JSON.stringify(settings), { tags: { name: 'settings' } });
  if (answer.status !== 200) {
    throw new Error(`setting ${origin}: status ${answer.status}`);
  }
}

// read is JSON from an upstream or the admin endpoint.
export function read(url) {
  const answer = http.get(url, { responseType: 'text', tags: { name: 'read' } });
  if (answer.status !== 200) {
    throw new Error(`reading ${url}: status ${answer.status}`);
  }
  return answer.json();
}

// summary is a scenario's handleSummary: a few lines, and everything as JSON into the folder OUT, if one is named.
export function summary(scenario) {
  return (data) => {
    const lines = [`${scenario}:`];
    for (const name of Object.keys(data.metrics).sort()) {
      const metric = data.metrics[name];
      for (const [rule, result] of Object.entries(metric.thresholds || {})) {
        lines.push(`  ${result.ok ? 'held  ' : 'BROKEN'} ${name}: ${rule} (${figures(metric.values)})`);
      }
    }
    lines.push(`  requests: ${figures((data.metrics.http_reqs || { values: {} }).values)}`);
    lines.push(`  latency in ms: ${figures((data.metrics.http_req_duration || { values: {} }).values)}`, '');
    const out = { stdout: lines.join('\n') };
    if (__ENV.OUT) {
      out[`${__ENV.OUT}/${scenario}.json`] = JSON.stringify(data, null, 2);
    }
    return out;
  };
}

function figures(values) {
  return Object.entries(values).map(([name, value]) => `${name} ${Math.round(value * 1000) / 1000}`).join(', ');
}
