-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Records purges of the response cache, in their order, and returns the position of the last one.
--
-- KEYS[1]  stream: every purge, numbered without a gap by its ID's first part
-- ARGV[1]  how many purges the stream keeps at least
-- then the record of each purge

-- The number goes on where it was, also after an operator emptied the stream; it begins anew only with a new stream.
local position = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
	local info = redis.call('XINFO', 'STREAM', KEYS[1])
	for i = 1, #info, 2 do
		if info[i] == 'last-generated-id' then
			position = tonumber(string.match(info[i + 1], '^%d+'))
		end
	end
else
	-- A stream that is made anew begins where no earlier one has been: by the clock, in tenths of a millisecond. Who followed
	-- the one before sees a gap then, and not a stream that has gone on without it.
	local time = redis.call('TIME')
	position = time[1] * 10000 + math.floor(time[2] / 100)
end
for i = 2, #ARGV do
	position = position + 1
	redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], string.format('%d-0', position), 'purge', ARGV[i])
end
return string.format('%d', position)
