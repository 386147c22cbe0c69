-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- The generic cell rate algorithm: see window.GCRA.
--
-- The limit of a window is its burst, and its time is how long one unit takes to drain. Its state is when all that was counted
-- has drained, in Unix microseconds.

local size = 7

local function prepare(w)
	w.interval = w.unit
end

local function load(w, state, at)
	w.drained = read('>I7', state, at)
	w.ahead = max(w.drained - now, 0)
	w.room = floor(max(w.limit * w.interval - w.ahead, 0) / w.interval)
	w.reset = w.ahead > 0 and ceil((w.ahead - 1) % w.interval) + 1 or w.interval
end

local function save(w)
	return pack('>I7', ceil(w.drained))
end

local function last(w)
	return w.drained - now
end

-- filled returns when all will have drained with n more.
local function filled(w, n)
	return max(w.drained, min(max(w.drained, now) + n * w.interval, now + w.limit * w.interval))
end

local function retry(w, low)
	return ceil(w.ahead + (min(low, w.limit) - w.limit) * w.interval)
end

local function receipt(w, n)
	return ceil(filled(w, n))
end

local function add(w, n)
	w.drained = filled(w, n)
end

local function give(w, n)
	w.drained = max(w.drained - min(n * w.interval, max(w.given - now, 0)), 0)
end
