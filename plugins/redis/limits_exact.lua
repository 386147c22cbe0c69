-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Remembers when each request came: see window.Exact. Only the newest and the oldest entries are looked at, however long a
-- list is, save after a pause, when the stale ones are trimmed.
--
-- The time of a window is its period. A decision has a key for each window: a list with an entry for each unit that was
-- counted, the newest first: its tick, modulo 2^23, which takes five bytes.

local wrap = 8388608

local function prepare(w)
	local period = w.unit
	w.unit = max(floor(period / 1048576), 1)
	w.tick = floor(now / w.unit) % wrap
	w.life = ceil(period / w.unit) + 1
	-- As text: Redis writes a number of Lua out anew, with 17 digits, each time that it gets one.
	w.entry, w.expiry = tostring(w.tick), tostring(ceil(w.life * w.unit / 1000) + 1)
end

-- age returns how many ticks ago an entry was made; the clock may have been set back since. What is no entry is stale, and so
-- is what would count for longer than a period because of that.
local function age(w, entry)
	local d = (w.tick - (tonumber(entry) or w.tick - w.life)) % wrap
	if d < wrap / 2 then
		return d
	end
	return wrap - d < w.life and 0 or w.life
end

-- first returns the oldest entry, or nothing. A key that holds something else begins anew, as one does that holds a string:
-- it is not to fail the decisions after this one.
local function first(w)
	local oldest = redis.pcall('LINDEX', w.key, '-1')
	if type(oldest) ~= 'table' then
		return oldest
	end
	if string.sub(oldest.err, 1, 9) ~= 'WRONGTYPE' then
		error(oldest)
	end
	redis.call('DEL', w.key)
end

-- prune forgets what has left the window, and returns the oldest entry that has not.
local function prune(w)
	local oldest, chunk = first(w), 2
	if not oldest or age(w, oldest) < w.life then
		return oldest
	end
	if age(w, redis.call('LINDEX', w.key, '0')) >= w.life then
		redis.call('DEL', w.key)
		return
	end
	while true do
		local tail = redis.call('LRANGE', w.key, -chunk, '-1')
		for i = #tail, 1, -1 do
			if age(w, tail[i]) < w.life then
				redis.call('LTRIM', w.key, '0', i - #tail - 1)
				return tail[i]
			end
		end
		redis.call('LTRIM', w.key, '0', -chunk - 1)
		chunk = min(4 * chunk, 512)
	end
end

-- leaves returns how long until an entry has left the window.
local function leaves(w, entry)
	return (w.life - (entry and age(w, entry) or 0)) * w.unit - now % w.unit
end

local function open(rule, n)
	for i = 1, #rule do
		local w = rule[i]
		w.key = KEYS[n + i - 1]
		w.oldest = prune(w)
		w.used = w.oldest and redis.call('LLEN', w.key) or 0
		w.room, w.reset = max(w.limit - w.used, 0), leaves(w, w.oldest)
	end
	return #rule
end

-- Where the clock was set back, entries are out of order; none leaves before the oldest one does.
local function retry(w, low)
	local n = min(w.used + low - w.limit, w.used)
	return max(n > 1 and leaves(w, redis.call('LINDEX', w.key, -n)) or 0, w.reset)
end

local function receipt(w)
	return w.tick
end

-- push adds n entries.
local function push(w, n)
	if n == 1 then
		redis.call('LPUSH', w.key, w.entry)
		return
	end
	local chunk = 100
	for done = 0, n - 1, chunk do
		local entries = {}
		for i = 1, min(chunk, n - done) do
			entries[i] = w.entry
		end
		redis.call('LPUSH', w.key, unpack(entries))
	end
end

-- What does not fit takes the place of the oldest; what was counted under a higher limit stays.
local function count(rule, add)
	for i = 1, #rule do
		local w = rule[i]
		local n = min(add, w.limit)
		push(w, n)
		if w.used + n > w.limit then
			redis.call('LTRIM', w.key, '0', max(w.limit, w.used) - 1)
		end
		redis.call('PEXPIRE', w.key, w.expiry)
	end
end

local function restore(rule, low)
	for i = 1, #rule do
		redis.call('LREM', rule[i].key, low, rule[i].given)
	end
end
