-- SPDX-FileCopyrightText: 2026 The Gatehouse Authors
-- SPDX-License-Identifier: Apache-2.0

-- Stands before the text of an algorithm, and limits_several.lua behind it.

local pack, read, rep = struct.pack, struct.unpack, string.rep
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
