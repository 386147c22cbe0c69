-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Remembers when each request came: see window.Exact. Only the newest and the oldest entries are looked at, however long a
-- list is, save after a pause, when the stale ones are trimmed.
--
-- KEYS[i]  list for window i: an entry for each unit that was counted, the newest first: its tick, modulo 2^23, which takes
--          five bytes
-- ARGV[1]  take or give
-- ARGV[2]  the least that is to be granted, or given back; 0 counts nothing
-- ARGV[3]  the most that is to be granted
-- ARGV[4]  1: count also what is refused, in the place of the oldest
-- then for each window: its limit, its period in microseconds, and which tick to give back
--
-- Returns what was granted, or -1, then for each window: how much fitted, how long until more does, how long until the least
-- would fit, both in microseconds, and where it was counted.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local take, low, grant = ARGV[1] == 'take', tonumber(ARGV[2]), tonumber(ARGV[3])
local wrap, chunk = 8388608, 100

-- age returns how many ticks ago an entry was made; the clock may have been set back since.
local function age(w, entry)
	local d = (w.tick - entry) % wrap
	return d < wrap / 2 and d or 0
end

-- prune forgets what has left the window.
local function prune(w)
	local oldest = redis.call('LINDEX', w.key, -1)
	if not oldest or age(w, oldest) < w.life then
		return
	end
	if age(w, redis.call('LINDEX', w.key, 0)) >= w.life then
		redis.call('DEL', w.key)
		return
	end
	local stale = chunk
	while stale == chunk do
		local tail = redis.call('LRANGE', w.key, -chunk, -1)
		stale = 0
		for i = #tail, 1, -1 do
			if age(w, tail[i]) < w.life then
				break
			end
			stale = stale + 1
		end
		redis.call('LTRIM', w.key, 0, -stale - 1)
	end
end

-- leaves returns how long until the n oldest entries have left the window.
local function leaves(w, n)
	local entry = redis.call('LINDEX', w.key, -n)
	return (w.life - (entry and age(w, entry) or 0)) * w.unit - now % w.unit
end

-- push counts.
local function push(w, n)
	for done = 0, n - 1, chunk do
		local entries = {}
		for i = 1, math.min(chunk, n - done) do
			entries[i] = w.tick
		end
		redis.call('LPUSH', w.key, unpack(entries))
	end
	redis.call('LTRIM', w.key, 0, w.limit - 1)
	redis.call('PEXPIRE', w.key, math.ceil(w.life * w.unit / 1000) + 1)
end

local windows = {}
for i = 5, #ARGV, 3 do
	local w = {key = KEYS[#windows + 1], limit = tonumber(ARGV[i]), receipt = ARGV[i + 2]}
	local period = tonumber(ARGV[i + 1])
	w.unit = math.max(math.floor(period / 1048576), 1)
	w.tick = math.floor(now / w.unit) % wrap
	w.life = math.ceil(period / w.unit) + 1
	if take then
		prune(w)
		w.used = redis.call('LLEN', w.key)
		w.room = math.max(w.limit - w.used, 0)
		grant = math.min(grant, w.room)
	else
		redis.call('LREM', w.key, low, w.receipt)
	end
	windows[#windows + 1] = w
end
if not take then
	return {0}
end

local add, reply = grant, {grant}
if grant < low then
	reply[1] = -1
	add = ARGV[4] == '1' and low or 0
end
for _, w in ipairs(windows) do
	local n = #reply
	reply[n + 1] = w.room
	reply[n + 2] = leaves(w, 1)
	reply[n + 3] = w.room < low and leaves(w, math.min(w.used + low - w.limit, w.used)) or 0
	reply[n + 4] = w.tick
	if add > 0 then
		push(w, math.min(add, w.limit))
	end
end
return reply
