-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Adds lines of a log to a stream, each once.
-- KEYS: the stream
-- ARGV: the limit of its length (0: none), the epoch, the node, then the number and the text of each line
-- Returns how many lines it had already under their own IDs.

-- From 8.6 on, Redis knows a producer's message again that has no ID of its own, within these bounds, the highest there are.
local idempotent = (redis.REDIS_VERSION_NUM or 0) >= 0x00080600
local remember, seconds = 10000, 86400
local prepared = false

-- Setting the bounds has Redis forget what it knows, so that is done once. Without the permission they stay as they are.
local function prepare()
	prepared = true
	local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
	for i = 1, #info, 2 do
		if info[i] == 'idmp-maxsize' and tonumber(info[i + 1]) >= remember then
			return
		end
	end
	redis.pcall('XCFGSET', KEYS[1], 'IDMP-DURATION', seconds, 'IDMP-MAXSIZE', remember)
end

-- Adds a line under an ID that Redis gives.
local function append(id, text)
	if idempotent then
		if not prepared then
			prepare()
		end
		local added = redis.pcall('XADD', KEYS[1], 'IDMP', ARGV[3], id, '*', 'line', text)
		if type(added) ~= 'table' or not added.err then
			return
		end
		idempotent = false
	end
	redis.call('XADD', KEYS[1], '*', 'line', text)
end

local duplicates = 0
for i = 4, #ARGV, 2 do
	local id = ARGV[2] .. '-' .. ARGV[i]
	local added = redis.pcall('XADD', KEYS[1], id, 'line', ARGV[i + 1])
	if type(added) == 'table' and added.err then
		if not string.find(added.err, 'equal or smaller', 1, true) then
			return added
		end
		-- The stream is past this ID: it has the line, or somebody else adds to it too. A line is not to be lost for that.
		if #redis.call('XRANGE', KEYS[1], id, id) > 0 then
			duplicates = duplicates + 1
		else
			append(id, ARGV[i + 1])
		end
	end
end
if ARGV[1] ~= '0' then
	redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
end
return duplicates
