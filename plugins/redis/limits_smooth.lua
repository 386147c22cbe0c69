-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Counts in two buckets and takes the older one's count for evenly spread: see window.Smooth.
--
-- KEYS[1]  string: for each window, the number of the newest bucket, its count, and the count of the one before
-- ARGV[1]  take or give
-- ARGV[2]  the least that is to be granted, or given back; 0 counts nothing
-- ARGV[3]  the most that is to be granted
-- ARGV[4]  1: count also what is refused
-- then for each window: its limit, its period in microseconds, and in which bucket to give back
--
-- Returns what was granted, or -1, then for each window: how much fitted, how long until more does, how long until the least
-- would fit, both in microseconds, and where it was counted.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local take, low, grant = ARGV[1] == 'take', tonumber(ARGV[2]), tonumber(ARGV[3])
local format, size = '>I6I4I4', 14
local state = redis.call('GET', KEYS[1])
if state and #state ~= size * (#ARGV - 4) / 3 then
	state = false
end

-- shrinks returns how far into the next bucket a full one counts no more than room.
local function shrinks(count, room, period)
	if count <= room then
		return 0
	end
	return math.min(math.ceil(period * (1 - room / count)) + 1, period)
end

-- retry returns how long until the least would fit.
local function retry(w)
	if w.current + low <= w.limit then
		return shrinks(w.previous, w.limit - low - w.current, w.period) - w.elapsed
	end
	return w.period - w.elapsed + shrinks(w.current, w.limit - low, w.period)
end

local windows, life = {}, 0
for i = 5, #ARGV, 3 do
	local w = {limit = tonumber(ARGV[i]), period = tonumber(ARGV[i + 1]), receipt = tonumber(ARGV[i + 2])}
	w.epoch, w.current, w.previous = math.floor(now / w.period), 0, 0
	if state then
		local last, current, previous = struct.unpack(format, state, #windows * size + 1)
		if last >= w.epoch then
			w.epoch, w.current, w.previous = last, current, previous
		elseif last == w.epoch - 1 then
			w.previous = current
		end
	end
	w.elapsed = math.max(now - w.epoch * w.period, 0)
	w.room = math.max(w.limit - w.current - math.ceil(w.previous * (w.period - w.elapsed) / w.period), 0)
	grant = math.min(grant, w.room)
	life = math.max(life, 2 * w.period)
	windows[#windows + 1] = w
end

local refused = take and grant < low
local add, reply = grant, {grant}
if refused then
	reply[1] = -1
	add = ARGV[4] == '1' and low or 0
end
local packed = {}
for i, w in ipairs(windows) do
	if take then
		local n = #reply
		reply[n + 1] = w.room
		reply[n + 2] = w.period - w.elapsed
		if w.previous > 0 then
			reply[n + 2] = math.min(w.elapsed + math.ceil(w.period / w.previous), w.period) - w.elapsed
		end
		reply[n + 3] = w.room < low and retry(w) or 0
		reply[n + 4] = w.epoch
		w.current = math.min(w.current + add, math.max(w.limit, w.current))
	elseif w.receipt == w.epoch then
		w.current = math.max(w.current - low, 0)
	elseif w.receipt == w.epoch - 1 then
		w.previous = math.max(w.previous - low, 0)
	end
	packed[i] = struct.pack(format, w.epoch, w.current, w.previous)
end
if take and add > 0 or not take and state then
	redis.call('SET', KEYS[1], table.concat(packed), 'PX', math.ceil(life / 1000))
end
return reply
