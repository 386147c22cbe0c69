-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Records changes of the list of bans, in their order, and returns the position of the last one.
--
-- KEYS[1]  hash: prefix -> record of its ban
-- KEYS[2]  stream: every change, numbered without a gap by its ID's first part
-- KEYS[3]  sorted set: prefix -> when its ban may be forgotten, in Unix milliseconds; bans without end are not in it
-- ARGV[1]  how many changes the stream keeps at least
-- ARGV[2]  how long after that a ban is kept, in milliseconds: proxies' clocks may be behind
-- ARGV[3]  how many bans to forget at most
-- then for each change: prefix, when it may be forgotten (0 is never, -1 lifts the ban), record

local time = redis.call('TIME')
local ended = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
for _, prefix in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ended, 'LIMIT', 0, ARGV[3])) do
	redis.call('HDEL', KEYS[1], prefix)
	redis.call('ZREM', KEYS[3], prefix)
end

-- The number goes on where it was, also after an operator emptied the stream; it begins anew only with a new stream.
local position = 0
if redis.call('EXISTS', KEYS[2]) == 1 then
	local info = redis.call('XINFO', 'STREAM', KEYS[2])
	for i = 1, #info, 2 do
		if info[i] == 'last-generated-id' then
			position = tonumber(string.match(info[i + 1], '^%d+'))
		end
	end
else
	-- A stream that is made anew begins where no earlier one has been: by the clock, in tenths of a millisecond. Who followed
	-- the one before sees a gap then, and not a stream that has gone on without it.
	position = time[1] * 10000 + math.floor(time[2] / 100)
end
for i = 4, #ARGV, 3 do
	local prefix, expires, record = ARGV[i], ARGV[i + 1], ARGV[i + 2]
	if expires == '-1' then
		redis.call('HDEL', KEYS[1], prefix)
	else
		redis.call('HSET', KEYS[1], prefix, record)
	end
	if expires == '-1' or expires == '0' then
		redis.call('ZREM', KEYS[3], prefix)
	else
		redis.call('ZADD', KEYS[3], expires, prefix)
	end
	position = position + 1
	redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], string.format('%d-0', position), 'change', record)
end
return string.format('%d', position)
