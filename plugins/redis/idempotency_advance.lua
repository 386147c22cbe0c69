-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Takes the owner's next step; returns 1 if it is taken or was before, 0 if the record is not the owner's.
--
-- KEYS[1]  the record, a hash
-- ARGV[1]  version of the format      ARGV[2]  owner
-- ARGV[3]  fingerprint                ARGV[4]  about
-- ARGV[5]  the step: renew, send, finish, release or doubt
-- ARGV[6]  answer                     ARGV[7]  reason
-- ARGV[8]  lease, in milliseconds     ARGV[9]  retention, in milliseconds

local key, version, owner, act = KEYS[1], ARGV[1], ARGV[2], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function set(...)
	redis.call('HSET', key, ...)
	redis.call('PEXPIRE', key, ARGV[9])
	return 1
end

if redis.call('EXISTS', key) == 0 then
	if act == 'finish' then
		local stamp = string.format('%.0f', now)
		return set('v', version, 'state', 'complete', 'print', ARGV[3], 'owner', owner, 'fence', 1,
			'lease', stamp, 'created', stamp, 'about', ARGV[4], 'answer', ARGV[6])
	end
	return 1
end
local record = redis.call('HMGET', key, 'v', 'state', 'owner', 'reason')
local state, reason = record[2], record[4]
if record[1] ~= version or record[3] ~= owner then
	return 0
end
if state == 'complete' then
	return 1
end
if act == 'finish' then
	redis.call('HDEL', key, 'reason')
	return set('state', 'complete', 'answer', ARGV[6])
end
if state == 'unknown' and reason ~= 'lease_expired' then
	return 1
end
if act == 'release' then
	redis.call('DEL', key)
	return 1
end
if act == 'doubt' then
	return set('state', 'unknown', 'reason', ARGV[7])
end
if act == 'send' or state == 'unknown' then
	state = 'sent'
end
redis.call('HDEL', key, 'reason')
return set('state', state, 'lease', string.format('%.0f', now + ARGV[8]))
