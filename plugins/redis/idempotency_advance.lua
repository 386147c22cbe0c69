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
local record = redis.call('HMGET', key, 'v', 'state', 'owner', 'reason')
local state, reason = record[2], record[4]

-- The time in milliseconds, and some more.
local function time(more)
	local now = redis.call('TIME')
	return string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + more)
end

local function set(...)
	if reason then
		redis.call('HDEL', key, 'reason')
	end
	redis.call('HSET', key, ...)
	redis.call('PEXPIRE', key, ARGV[9])
	return 1
end

if not record[1] and redis.call('EXISTS', key) == 0 then
	if act == 'finish' then
		local stamp = time(0)
		return set('v', version, 'state', 'complete', 'print', ARGV[3], 'owner', owner, 'fence', 1,
			'lease', stamp, 'created', stamp, 'about', ARGV[4], 'answer', ARGV[6])
	end
	return 1
end
if record[1] ~= version or record[3] ~= owner then
	return 0
end
if state == 'complete' then
	return 1
end
if act == 'finish' then
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
return set('state', state, 'lease', time(ARGV[8]))
