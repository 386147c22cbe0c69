-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Makes several decisions in one call, one after another. The script that makes one stands before this text, as decide.
--
-- KEYS  those of all decisions
-- ARGV  for each decision: how many keys it has, how many arguments, and the arguments
--
-- Returns what each decision returns.

local replies, key, at = {}, 1, 1
while at <= #ARGV do
	local keys, args = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
	replies[#replies + 1] = decide({unpack(KEYS, key, key + keys - 1)}, {unpack(ARGV, at + 2, at + 1 + args)})
	key, at = key + keys, at + 2 + args
end
return replies
