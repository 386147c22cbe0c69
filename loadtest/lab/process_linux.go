// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 wherever Linux runs Go programs.
const clockTick = time.Second / 100

// OwnGroup puts a child into a process group of its own, and has the kernel end it when this process dies without having
// stopped it. SIGTERM, since nginx passes that on to its workers, which a SIGKILL would leave behind.
func OwnGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// cpuTime is what a process group has used, user and system, to 10 ms a process. A process that has ended no longer
// counts, but no contender ends one while it is measured.
func cpuTime(group int) (sum time.Duration, err error) {
	err = members(group, func(s stat) { sum += s.used })
	return sum, err
}

// resident is the memory of a process group in bytes.
func resident(group int) (sum int64, err error) {
	err = members(group, func(s stat) { sum += s.pages * int64(os.Getpagesize()) })
	return sum, err
}

// members calls do for every process of a group.
func members(group int, do func(stat)) error {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return fmt.Errorf("listing processes: %w", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since the list was made
		}
		if s, ok := parseStat(string(text)); ok && s.group == group {
			do(s)
		}
	}
	return nil
}

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	group int
	used  time.Duration
	pages int64 // resident
}

// parseStat reads a line of /proc/PID/stat; see proc_pid_stat(5). The name, in parentheses, may hold anything.
func parseStat(line string) (s stat, ok bool) {
	fields := strings.Fields(line[strings.LastIndex(line, ")")+1:])
	if len(fields) < 22 {
		return s, false
	}
	group, err1 := strconv.Atoi(fields[2])                 // field 5: pgrp
	user, err2 := strconv.ParseInt(fields[11], 10, 64)     // field 14: utime
	inKernel, err3 := strconv.ParseInt(fields[12], 10, 64) // field 15: stime
	pages, err4 := strconv.ParseInt(fields[21], 10, 64)    // field 24: rss
	s = stat{group: group, used: time.Duration(user+inKernel) * clockTick, pages: pages}
	return s, err1 == nil && err2 == nil && err3 == nil && err4 == nil
}
