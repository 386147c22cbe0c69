-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Notes that a proxy lives, and returns how many do.
--
-- KEYS[1]  sorted set: proxy -> when it was last heard of, in Unix milliseconds
-- ARGV[1]  the proxy
-- ARGV[2]  after how many milliseconds of silence a proxy counts as gone
-- ARGV[3]  1: it goes

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == '1' then
	redis.call('ZREM', KEYS[1], ARGV[1])
	return 0
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
return redis.call('ZCARD', KEYS[1])
