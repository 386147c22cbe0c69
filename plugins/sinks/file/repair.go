// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"os"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

// step is how much of a file's end is read at once.
const step = 64 << 10

// repair cuts off what follows the last line end, which a crash has left, and returns the file's size and the origin of its
// last line; zero if there is none, or if it is none of ours.
func repair(file *os.File) (int64, logship.Stamp, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, logship.Stamp{}, err
	}
	end, err := lineEnd(file, info.Size())
	if err != nil {
		return 0, logship.Stamp{}, err
	}
	if end < info.Size() {
		if err := file.Truncate(end); err != nil {
			return 0, logship.Stamp{}, err
		}
	}
	if end == 0 {
		return 0, logship.Stamp{}, nil
	}
	start, err := lineEnd(file, end-1)
	if err != nil {
		return 0, logship.Stamp{}, err
	}
	line := make([]byte, end-1-start)
	if _, err := file.ReadAt(line, start); err != nil {
		return 0, logship.Stamp{}, err
	}
	last, err := logship.ReadStamp(line)
	if err != nil {
		return end, logship.Stamp{}, nil // somebody else's line
	}
	return end, last, nil
}

// lineEnd returns the place behind the last line end before a place, or 0.
func lineEnd(file *os.File, before int64) (int64, error) {
	buf := make([]byte, step)
	for before > 0 {
		part := buf[:min(before, step)]
		if _, err := file.ReadAt(part, before-int64(len(part))); err != nil {
			return 0, err
		}
		if at := bytes.LastIndexByte(part, '\n'); at >= 0 {
			return before - int64(len(part)) + int64(at) + 1, nil
		}
		before -= int64(len(part))
	}
	return 0, nil
}
