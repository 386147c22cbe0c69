-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Counts in two buckets and takes the older one's count for evenly spread: see window.Smooth.
--
-- The time of a window is its period. Its state is the number of the newest bucket, its count, and the count of the one before.

local format, size = '>I6I4I4', 14

local function prepare(w)
	w.period, w.present = w.unit, floor(now / w.unit)
end

local function load(w, state, at)
	local epoch, current, previous = read(format, state, at)
	if epoch > w.present + 1 then -- the clock was set back, by more than is worth waiting for
		epoch, current, previous = w.present, 0, 0
	elseif epoch < w.present then
		current, previous = 0, epoch == w.present - 1 and current or 0
		epoch = w.present
	end
	w.epoch, w.current, w.previous = epoch, current, previous
	w.elapsed = max(now - epoch * w.period, 0)
	w.room = max(w.limit - current - ceil(previous * (w.period - w.elapsed) / w.period), 0)
	w.reset = w.period - w.elapsed
	if previous > 0 then
		w.reset = min(w.elapsed + ceil(w.period / previous), w.period) - w.elapsed
	end
end

local function save(w)
	return pack(format, w.epoch, w.current, w.previous)
end

local function last(w)
	return 2 * w.period
end

-- shrinks returns how far into the next bucket a full one counts no more than room.
local function shrinks(count, room, period)
	if count <= room then
		return 0
	end
	return min(ceil(period * (1 - room / count)) + 1, period)
end

local function retry(w, low)
	if w.current + low <= w.limit then
		return shrinks(w.previous, w.limit - low - w.current, w.period) - w.elapsed
	end
	return w.period - w.elapsed + shrinks(w.current, w.limit - low, w.period)
end

local function receipt(w)
	return w.epoch
end

local function add(w, n)
	w.current = min(w.current + n, max(w.limit, w.current))
end

local function give(w, n)
	if w.given == w.epoch then
		w.current = max(w.current - n, 0)
	elseif w.given == w.epoch - 1 then
		w.previous = max(w.previous - n, 0)
	end
end
