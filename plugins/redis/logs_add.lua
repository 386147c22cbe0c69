-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Adds lines of a log to a stream, each once.
-- KEYS: the stream
-- ARGV: the limit of its length (0: none), the epoch, then the number and the text of each line
-- Returns how many lines it had already.

local duplicates = 0
for i = 3, #ARGV, 2 do
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
			redis.call('XADD', KEYS[1], '*', 'line', ARGV[i + 1])
		end
	end
end
if ARGV[1] ~= '0' then
	redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
end
return duplicates
