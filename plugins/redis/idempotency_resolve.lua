-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Resolves an operation whose outcome is unknown; returns 1, 0 if it is another's or not unknown, -1 if there is none.
--
-- KEYS[1]  the record, a hash
-- ARGV[1]  version of the format      ARGV[2]  fence
-- ARGV[3]  1 with an answer           ARGV[4]  answer
-- ARGV[5]  retention, in milliseconds

local key = KEYS[1]
local record = redis.call('HMGET', key, 'v', 'state', 'fence', 'lease')
if not record[1] then
	return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = record[2]
if state == 'sent' and tonumber(record[4]) <= now then
	state = 'unknown'
end
if record[1] ~= ARGV[1] or state ~= 'unknown' or record[3] ~= ARGV[2] then
	return 0
end
if ARGV[3] ~= '1' then
	redis.call('DEL', key)
	return 1
end
redis.call('HSET', key, 'state', 'complete', 'owner', '', 'answer', ARGV[4])
redis.call('HDEL', key, 'reason')
redis.call('PEXPIRE', key, ARGV[5])
return 1
