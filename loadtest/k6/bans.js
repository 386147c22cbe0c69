// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Bans under load: a banned client never gets through, nobody else is refused, and a ban is in force for the very next
// request once the admin endpoint has answered, as is its end.

import http from 'k6/http';
import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { ADMIN, client, get, options as all, steady, summary } from './lib/run.js';

const BANNED = '203.0.113.7';
const leaked = new Counter('leaked'); // answers that a banned client got
const wronged = new Counter('wronged'); // refusals of somebody who is not banned
const refused = new Counter('refused');

export const options = all(
  { crowd: steady('crowd', 100, 20), banned: steady('banned', 50, 20), operator: steady('operator', 5, 20) },
  {
    leaked: ['count==0'],
    wronged: ['count==0'],
    refused: ['count>0'],
    'http_req_duration{scenario:crowd}': ['p(99)<500'],
  },
);

http.setResponseCallback(http.expectedStatuses(200, 403));

function ban(address) {
  const body = JSON.stringify({ prefixes: [address], for: '10m', reason: 'load test' });
  return http.post(`${ADMIN}/gatehouse/bans`, body, { headers: { 'Content-Type': 'application/json' }, tags: { name: 'ban' } });
}

function unban(address) {
  return http.del(`${ADMIN}/gatehouse/bans?prefix=${address}`, null, { tags: { name: 'unban' } });
}

export function setup() {
  check(ban(BANNED), { 'the ban was accepted': (a) => a.status === 200 });
}

export function teardown() {
  check(unban(BANNED), { 'the ban was lifted': (a) => a.status === 200 });
}

// expect asks as a client and counts what should not be.
function expect(address, banned) {
  const status = get('/bytes/128', banned ? 'banned' : 'allowed', { 'X-Forwarded-For': address }).status;
  if (status === 403) {
    refused.add(1);
  }
  leaked.add(banned && status !== 403 ? 1 : 0);
  wronged.add(!banned && status !== 200 ? 1 : 0);
}

export function crowd() {
  expect(client(__ITER)['X-Forwarded-For'], false);
}

export function banned() {
  expect(BANNED, true);
}

// operator bans a client of its own, and lets it in again.
export function operator() {
  const address = `192.0.2.${__VU % 256}`;
  check(ban(address), { 'banned': (a) => a.status === 200 });
  expect(address, true);
  check(unban(address), { 'let in': (a) => a.status === 200 });
  expect(address, false);
}

export const handleSummary = summary('bans');
