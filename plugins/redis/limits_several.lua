-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Decides on as many requests as wait, one after another: Redis has one processor for everybody. The text of an algorithm
-- stands before this one; it defines
--
--   prepare(w)               works out what a window's limit, and its unit of time, come to
--   open(rule, n)            reads the windows' state from the keys, of which the n-th is the first, and returns how many it
--                            read; each window has room then, and reset, how long until there is more
--   retry(w, low)            is how long until low fits
--   receipt(w, add)          says where add is counted
--   count(rule, add)         counts
--   restore(rule, low)       takes back what was counted where the windows' given says
--
-- All times are microseconds.
--
-- KEYS     for each decision, its keys
-- ARGV[1]  for limits_sliding.lua only, as is the first byte of a rule
-- ARGV[2]  1: count also what is refused
-- ARGV[3]  for each decision: the number of its rule, 0 to take or 1 to give back, the least that is to be granted, or given
--          back (0 counts nothing), and the most that is to be granted; where it gives back, for each window, what receipt said
-- ARGV[4]  and on: the rules, each a byte and, for each window, its limit and a time
--
-- Returns the time in Unix microseconds and, for each decision, one more than was granted, or 0, and, where it takes, for each
-- window how much fitted, how long until more does, how long until the least would fit, and the receipt.

local always, plan, rules = ARGV[2] == '1', ARGV[3], {}
for n = 4, #ARGV do
	local rule = {}
	for at = 2, #ARGV[n], 13 do
		local w = {}
		w.limit, w.unit = read('>I5d', ARGV[n], at)
		prepare(w)
		rule[#rule + 1] = w
	end
	rules[n - 3] = rule
end

-- take decides on one request.
local function take(rule, low, grant)
	for n = 1, #rule do
		grant = min(grant, rule[n].room)
	end
	local add = grant
	if grant < low then
		grant, add = -1, always and low or 0
	end
	local told = pack('>I5', grant + 1)
	for n = 1, #rule do
		local w = rule[n]
		told = told .. pack('>I5I7I7I7', w.room, w.reset, w.room < low and retry(w, low) or 0, receipt(w, add))
	end
	if add > 0 then
		count(rule, add)
	end
	return told
end

local reply, at, place = {pack('>I7', now)}, 1, 1
while at <= #plan do
	local number, give, low, grant = read('>I2BI5I5', plan, at)
	at = at + 13
	local rule = rules[number + 1]
	place = place + open(rule, place)
	if give == 0 then
		reply[#reply + 1] = take(rule, low, grant)
	else
		for n = 1, #rule do
			rule[n].given, at = read('>I7', plan, at)
		end
		if low > 0 then
			restore(rule, low)
		end
		reply[#reply + 1] = pack('>I5', 1)
	end
end
return table.concat(reply)
