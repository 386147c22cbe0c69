-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Counts in buckets, the oldest of which counts in full although the window has left it in part: see window.Sliding.
--
-- KEYS[1]  string: for each window, its buckets' counts, then the number of the newest one
-- ARGV[1]  take or give
-- ARGV[2]  the least that is to be granted, or given back; 0 counts nothing
-- ARGV[3]  the most that is to be granted
-- ARGV[4]  1: count also what is refused
-- ARGV[5]  how a window's state is packed
-- ARGV[6]  its length in bytes
-- ARGV[7]  how many counts it has
-- then for each window: its limit, the length of a bucket in microseconds, and in which bucket to give back
--
-- Returns what was granted, or -1, then for each window: how much fitted, how long until more does, how long until the least
-- would fit, both in microseconds, and the newest bucket.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local take, low, grant = ARGV[1] == 'take', tonumber(ARGV[2]), tonumber(ARGV[3])
local format, size, slots = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local state = redis.call('GET', KEYS[1])
if state and #state ~= size * (#ARGV - 7) / 3 then
	state = false
end

-- leaves returns how long until at least amount of what is counted has left the window.
local function leaves(counts, epoch, width, amount)
	local freed = 0
	for e = epoch - slots + 1, epoch - 1 do
		freed = freed + counts[e % slots + 1]
		if freed >= amount then
			return (e + slots) * width - now
		end
	end
	return (epoch + slots) * width - now
end

local windows, life = {}, 0
for i = 8, #ARGV, 3 do
	local w = {limit = tonumber(ARGV[i]), width = tonumber(ARGV[i + 1]), receipt = tonumber(ARGV[i + 2])}
	w.epoch = math.floor(now / w.width)
	if state then
		w.counts = {struct.unpack(format, state, #windows * size + 1)}
		local last = w.counts[slots + 1]
		w.epoch = math.max(w.epoch, last)
		for e = w.epoch - math.min(w.epoch - last, slots) + 1, w.epoch do
			w.counts[e % slots + 1] = 0
		end
	else
		w.counts = {}
		for j = 1, slots do
			w.counts[j] = 0
		end
	end
	w.used = 0
	for j = 1, slots do
		w.used = w.used + w.counts[j]
	end
	w.room = math.max(w.limit - w.used, 0)
	grant = math.min(grant, w.room)
	life = math.max(life, slots * w.width)
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
		reply[n + 2] = leaves(w.counts, w.epoch, w.width, 1)
		reply[n + 3] = w.room < low and leaves(w.counts, w.epoch, w.width, w.used + low - w.limit) or 0
		reply[n + 4] = w.epoch
		local at = w.epoch % slots + 1
		w.counts[at] = math.min(w.counts[at] + add, w.limit)
	elseif w.receipt <= w.epoch and w.receipt > w.epoch - slots then
		local at = w.receipt % slots + 1
		w.counts[at] = math.max(w.counts[at] - low, 0)
	end
	w.counts[slots + 1] = w.epoch
	packed[i] = struct.pack(format, unpack(w.counts, 1, slots + 1))
end
if take and add > 0 or not take and state then
	redis.call('SET', KEYS[1], table.concat(packed), 'PX', math.ceil(life / 1000))
end
return reply
