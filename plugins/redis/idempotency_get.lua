-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Returns a record as idempotency_claim.lua does, without changing it, or nothing if there is none.
--
-- KEYS[1]  the record, a hash
-- ARGV[1]  version of the format      ARGV[2]  1 to return the answer too

local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then
	return {}
end
local kept = tostring(redis.call('PTTL', key))
local record = redis.call('HMGET', key, 'v', 'state', 'print', 'owner', 'fence', 'lease', 'created', 'about', 'reason')
if record[1] ~= ARGV[1] then
	return {'foreign', '', '', '0', '0', '0', '', '', kept, ''}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state, reason = record[2], record[9] or ''
if state == 'sent' and tonumber(record[6]) <= now then
	state, reason = 'unknown', 'lease_expired'
end
local answer = ''
if ARGV[2] == '1' then
	answer = redis.call('HGET', key, 'answer') or ''
end
return {state, record[3], record[4], record[5], record[6], record[7], record[8], reason, kept, answer}
