-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Counts requests in flight, by proxy: those of a proxy that has died no longer count when it has not renewed them in time.
--
-- KEYS[1]  hash: proxy -> how many of its requests are in flight, and until when that counts, in Unix milliseconds
-- ARGV[1]  take, give or renew
-- ARGV[2]  the proxy
-- ARGV[3]  how many
-- ARGV[4]  the limit
-- ARGV[5]  how long a count counts, in milliseconds
--
-- Returns 1 or, if there is no room, -1; and how much room there was.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, op, proxy, cost, limit, life = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local all = redis.call('HGETALL', key)
local used, mine = 0, 0
for i = 1, #all, 2 do
	local n, till = string.match(all[i + 1], '^(%d+) (%d+)$')
	if not n or tonumber(till) < now then
		redis.call('HDEL', key, all[i])
	else
		used = used + n
		if all[i] == proxy then
			mine = tonumber(n)
		end
	end
end

local room = math.max(limit - used, 0)
if op == 'take' then
	if cost > room then
		return {-1, room}
	end
	mine = mine + cost
elseif op == 'give' then
	mine = math.max(mine - cost, 0)
else
	mine = cost
end
if mine > 0 then
	redis.call('HSET', key, proxy, string.format('%d %d', mine, now + life))
	redis.call('PEXPIRE', key, life)
else
	redis.call('HDEL', key, proxy)
end
return {1, room}
