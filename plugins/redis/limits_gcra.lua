-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- The generic cell rate algorithm: see window.GCRA.
--
-- KEYS[1]  string: for each window, when all that was counted has drained, in Unix microseconds
-- ARGV[1]  take or give
-- ARGV[2]  the least that is to be granted, or given back; 0 counts nothing
-- ARGV[3]  the most that is to be granted
-- ARGV[4]  1: count also what is refused
-- then for each window: its burst, how long one unit takes to drain in microseconds, and when what is to be given back has
-- drained
--
-- Returns what was granted, or -1, then for each window: how much fitted, how long until more does, how long until the least
-- would fit, both in microseconds, and where it was counted.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local take, low, grant = ARGV[1] == 'take', tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('GET', KEYS[1])
if state and #state ~= 7 * (#ARGV - 4) / 3 then
	state = false
end

local windows, life = {}, 0
for i = 5, #ARGV, 3 do
	local w = {burst = tonumber(ARGV[i]), interval = tonumber(ARGV[i + 1]), receipt = tonumber(ARGV[i + 2])}
	w.drained = state and struct.unpack('>I7', state, #windows * 7 + 1) or 0
	w.ahead = math.max(w.drained - now, 0)
	w.room = math.floor(math.max(w.burst * w.interval - w.ahead, 0) / w.interval)
	grant = math.min(grant, w.room)
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
		reply[n + 2] = w.interval
		if w.ahead > 0 then
			reply[n + 2] = math.ceil((w.ahead - 1) % w.interval) + 1
		end
		reply[n + 3] = w.room < low and math.ceil(w.ahead + (low - w.burst) * w.interval) or 0
		w.drained = math.max(w.drained, math.min(math.max(w.drained, now) + add * w.interval, now + w.burst * w.interval))
		reply[n + 4] = math.ceil(w.drained)
	else
		w.drained = math.max(w.drained - math.min(low * w.interval, math.max(w.receipt - now, 0)), 0)
	end
	life = math.max(life, w.drained - now)
	packed[i] = struct.pack('>I7', math.ceil(w.drained))
end
if take and add > 0 or not take and state then
	redis.call('SET', KEYS[1], table.concat(packed), 'PX', math.max(math.ceil(life / 1000), 1))
end
return reply
