-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Keeps the state of all windows in one string. The text of an algorithm stands before this one; it defines
--
--   size                 how many bytes the state of a window takes; all of them are zero at first
--   load(w, state, at)   reads a window's state, which begins at a place of state
--   save(w)              returns it
--   last(w)              is for how long it matters
--   add(w, n)            counts
--   give(w, n)           takes back what was counted where the window's given says

local states, changed = redis.call('MGET', unpack(KEYS)), {}
local key, state -- of the decision that is made

local function open(rule, n)
	key = KEYS[n]
	state = changed[key] or states[n]
	if not state or #state ~= size * #rule then
		state = rep('\0', size * #rule)
	end
	for i = 1, #rule do
		load(rule[i], state, (i - 1) * size + 1)
	end
	return 1
end

-- store writes what has changed.
local function store(rule)
	local text, life = '', 1000
	for i = 1, #rule do
		text, life = text .. save(rule[i]), max(life, last(rule[i]))
	end
	if text ~= state then
		changed[key] = text
		redis.call('SET', key, text, 'PX', ceil(life / 1000))
	end
end

local function count(rule, n)
	for i = 1, #rule do
		add(rule[i], n)
	end
	store(rule)
end

local function restore(rule, n)
	for i = 1, #rule do
		give(rule[i], n)
	end
	store(rule)
end
