-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Counts in buckets, the oldest of which counts in full although the window has left it in part: see window.Sliding. What a
-- client is told beyond yes and no is worked out by who asked, from the state: Redis has one processor for everybody.
--
-- KEYS[1]  string: for each window, the number of the newest bucket, the sum of the counts, and the buckets' counts
-- ARGV[1]  take or give
-- ARGV[2]  the least that is to be granted, or given back; 0 counts nothing
-- ARGV[3]  the most that is to be granted
-- ARGV[4]  1: count also what is refused
-- ARGV[5]  how many bytes a count takes
-- ARGV[6]  how many counts a window has
-- then for each window: its limit, the length of a bucket in microseconds, and in which bucket to give back
--
-- Returns what was granted, or -1; the time in Unix microseconds; and the state at that time, before anything was counted.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local low, grant, bytes, slots = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local pack, unpack, sub = struct.pack, struct.unpack, string.sub
local count, size, windows = '>I' .. bytes, 11 + bytes * slots, (#ARGV - 6) / 3
local state = redis.call('GET', KEYS[1])
if not state or #state ~= size * windows then
	state = string.rep('\0', size * windows)
end

local life = 0
for i = 0, windows - 1 do
	local limit, width, at = tonumber(ARGV[7 + 3 * i]), tonumber(ARGV[8 + 3 * i]), i * size + 1
	local epoch, last, total = math.floor(now / width), unpack('>I6I5', state, at)
	if epoch - last >= slots then
		state = sub(state, 1, at - 1) .. pack('>I6', epoch) .. string.rep('\0', size - 6) .. sub(state, at + size)
		total = 0
	elseif epoch > last then
		for e = last + 1, epoch do
			local p = at + 11 + e % slots * bytes
			total = total - unpack(count, state, p)
			state = sub(state, 1, p - 1) .. string.rep('\0', bytes) .. sub(state, p + bytes)
		end
		state = sub(state, 1, at - 1) .. pack('>I6I5', epoch, total) .. sub(state, at + 11)
	end
	grant = math.min(grant, math.max(limit - total, 0))
	life = math.max(life, slots * width)
end

local before, add = state, grant
if ARGV[1] == 'give' then
	add = -low
elseif grant < low then
	grant, add = -1, ARGV[4] == '1' and low or 0
end
if add == 0 then
	return {grant, now, before}
end
for i = 0, windows - 1 do
	local limit, at = tonumber(ARGV[7 + 3 * i]), i * size + 1
	local epoch, total = unpack('>I6I5', state, at)
	local bucket = add > 0 and epoch or tonumber(ARGV[9 + 3 * i])
	if bucket <= epoch and bucket > epoch - slots then
		local p = at + 11 + bucket % slots * bytes
		local n = unpack(count, state, p)
		local changed = math.max(math.min(n + add, math.max(limit, n)), 0)
		state = sub(state, 1, at + 5) .. pack('>I5', total + changed - n) .. sub(state, at + 11, p - 1) ..
			pack(count, changed) .. sub(state, p + bytes)
	end
end
redis.call('SET', KEYS[1], state, 'PX', math.ceil(life / 1000))
return {grant, now, before}
