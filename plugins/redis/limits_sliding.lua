-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Counts in buckets, the oldest of which counts in full although the window has left it in part: see window.Sliding. What a
-- client is told beyond yes and no is worked out by who asked, from the state: Redis has one processor for everybody. For the
-- same reason one call decides on as many requests as wait, one after another.
--
-- KEYS[i]  string, for each decision: for each window, the number of the newest bucket, the sum of the counts, and the counts,
--          the newest first
-- ARGV[1]  how many counts a window has
-- ARGV[2]  1: count also what is refused
-- ARGV[3]  for each decision: the number of its rule, 0 to take or 1 to give back, the least that is to be granted, or given
--          back (0 counts nothing), and the most that is to be granted; where it gives back, for each window, in which bucket
-- ARGV[4]  and on: the rules, each how many bytes a count takes and, for each window, its limit and the length of a bucket in
--          microseconds
--
-- Returns the time in Unix microseconds and, for each decision, one more than was granted, or 0, and the state at that time,
-- before anything was counted.

local pack, read, sub, rep, max, min = struct.pack, struct.unpack, string.sub, string.rep, math.max, math.min
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local slots, always, plan = tonumber(ARGV[1]), ARGV[2] == '1', ARGV[3]

local rules = {}
for n = 4, #ARGV do
	local bytes = read('B', ARGV[n])
	local rule = {bytes = bytes, size = 11 + bytes * slots, head = '>I6I5I' .. bytes, rest = rep('\0', bytes * (slots - 1)), life = 0}
	for at = 2, #ARGV[n], 13 do
		local limit, width = read('>I5d', ARGV[n], at)
		rule[#rule + 1] = {limit = limit, width = width, epoch = math.floor(now / width)}
		rule.life = max(rule.life, math.ceil(slots * width / 1000))
	end
	rule.expiry = tostring(rule.life) -- Redis writes a number out anew each time that it gets one
	rule.blank = rep('\0', rule.size * #rule)
	rules[n - 3] = rule
end

-- bring brings window w up to now. Its state begins at a place of state. Where the clock was set back, counts stay until it has
-- caught up, or go if that takes longer than they would have counted: nobody is to be refused for as long as a clock was wrong.
local function bring(rule, w, state, at)
	local bytes, last = rule.bytes
	last, w.total, w.count = read(rule.head, state, at)
	local age = w.epoch - last
	if age <= 0 and age > -slots then
		w.newest, w.text = last, sub(state, at, at + rule.size - 1)
		w.rest = false
		return
	end
	w.newest, w.rest = w.epoch, rule.rest
	if age >= slots or age < 0 then
		w.total = 0
	else
		local gone = at + 11 + bytes * (slots - age)
		for p = gone, at + rule.size - 1, bytes do
			w.total = w.total - read('>I' .. bytes, state, p)
		end
		w.rest = rep('\0', bytes * (age - 1)) .. sub(state, at + 11, gone - 1)
	end
	w.count = 0
	w.text = pack(rule.head, w.newest, w.total, 0) .. w.rest
end

-- count adds to the newest bucket, up to the limit: what is there already under a higher one stays.
local function count(rule, w, add)
	local changed = min(w.count + add, max(w.limit, w.count))
	w.text = pack(rule.head, w.newest, w.total + changed - w.count, changed) .. (w.rest or sub(w.text, 12 + rule.bytes))
end

-- restore takes back what was counted in a bucket.
local function restore(rule, w, bucket, amount)
	local p, format = 12 + (w.newest - bucket) * rule.bytes, '>I' .. rule.bytes
	if bucket > w.newest or p > rule.size then
		return
	end
	local n = read(format, w.text, p)
	local left = max(n - amount, 0)
	w.text = pack('>I6I5', w.newest, w.total - n + left) .. sub(w.text, 12, p - 1) .. pack(format, left) .. sub(w.text, p + rule.bytes)
end

-- text is the state of all windows.
local function text(rule)
	local all = rule[1].text
	for n = 2, #rule do
		all = all .. rule[n].text
	end
	return all
end

local states, changed, reply, at = redis.call('MGET', unpack(KEYS)), {}, {pack('>I7', now)}, 1
for i, key in ipairs(KEYS) do
	local number, give, low, grant = read('>I2BI5I5', plan, at)
	at = at + 13
	local rule, state = rules[number + 1], changed[key] or states[i]
	if not state or #state ~= #rule.blank then
		state = rule.blank
	end
	for n, w in ipairs(rule) do
		bring(rule, w, state, (n - 1) * rule.size + 1)
		grant = min(grant, max(w.limit - w.total, 0))
	end
	local add, before = grant, text(rule)
	if give == 1 then
		for n, w in ipairs(rule) do
			restore(rule, w, read('>I7', plan, at), low)
			at = at + 7
		end
	else
		if grant < low then
			grant, add = -1, always and low or 0
		end
		for n = 1, add > 0 and #rule or 0 do
			count(rule, rule[n], add)
		end
	end
	state = text(rule)
	if state ~= before then
		changed[key] = state
		redis.call('SET', key, state, 'PX', rule.expiry)
	end
	reply[#reply + 1] = pack('>I5', grant + 1)
	reply[#reply + 1] = before
end
return table.concat(reply)
