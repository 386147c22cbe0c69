-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Claims an operation, and returns its record as it is then:
-- {state, fingerprint, owner, fence, lease's end, created, about, reason, milliseconds until it is forgotten, answer},
-- or, where it made the record, the time of that in milliseconds: the rest is what it was asked for
--
-- KEYS[1]  the record, a hash
-- ARGV[1]  version of the format      ARGV[2]  owner
-- ARGV[3]  fingerprint                ARGV[4]  about
-- ARGV[5]  new state                  ARGV[6]  1 if an unknown outcome may be claimed
-- ARGV[7]  lease, in milliseconds     ARGV[8]  retention, in milliseconds

local key, version, owner, fingerprint = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

-- The time in milliseconds.
local function clock()
	local time = redis.call('TIME')
	return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Most claims are the first of their key. Each call counts: what runs seldom runs with cold caches.
if redis.call('EXISTS', key) == 0 then
	local now = clock()
	redis.call('HSET', key, 'v', version, 'state', ARGV[5], 'print', fingerprint, 'owner', owner, 'fence', '1',
		'lease', string.format('%.0f', now + ARGV[7]), 'created', string.format('%.0f', now), 'about', ARGV[4])
	redis.call('PEXPIRE', key, ARGV[8])
	return now
end

local record = redis.call('HMGET', key, 'v', 'state', 'print', 'owner', 'fence', 'lease', 'created', 'about', 'reason')
local held_version, state, held_print, held_owner = record[1], record[2], record[3], record[4]
local fence, lease, created, about, reason = record[5] or '0', record[6] or '0', record[7], record[8], record[9]
if held_version ~= version then
	return {'foreign', '', '', '0', '0', '0', '', '', tostring(redis.call('PTTL', key)), ''}
end
local now = clock()

local function hold(number)
	created = created or string.format('%.0f', now)
	lease = string.format('%.0f', now + ARGV[7])
	redis.call('HSET', key, 'v', version, 'state', ARGV[5], 'print', fingerprint, 'owner', owner,
		'fence', number, 'lease', lease, 'created', created, 'about', ARGV[4])
	if reason then
		redis.call('HDEL', key, 'reason')
	end
	redis.call('PEXPIRE', key, ARGV[8])
	return {ARGV[5], fingerprint, owner, tostring(number), lease, created, ARGV[4], '', ARGV[8], ''}
end

if held_owner == owner and state ~= 'complete' then
	return hold(tonumber(fence))
end
if held_print == fingerprint and state ~= 'complete' then
	local ended = tonumber(lease) <= now
	if state == 'pending' and ended then
		return hold(fence + 1)
	end
	if state == 'sent' and ended then
		state, reason = 'unknown', 'lease_expired'
		redis.call('HSET', key, 'state', state, 'reason', reason)
		redis.call('PEXPIRE', key, ARGV[8])
	end
	if state == 'unknown' and ARGV[6] == '1' then
		return hold(fence + 1)
	end
end
local answer = ''
if state == 'complete' and held_print == fingerprint then
	answer = redis.call('HGET', key, 'answer') or ''
end
return {state, held_print, held_owner, fence, lease, created, about or '', reason or '', tostring(redis.call('PTTL', key)), answer}
