// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

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

// ownGroup puts a child into a process group of its own, and has the kernel end it when this process dies without having
// stopped it. SIGTERM, since nginx passes that on to its workers, which a SIGKILL would leave behind.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// cpuTime is what a process group has used, user and system, to 10 ms a process. A process that has ended no longer
// counts, but no contender ends one while it is measured.
func cpuTime(group int) (time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("listing processes: %w", err)
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since the list was made
		}
		if pgrp, used, ok := parseStat(string(text)); ok && pgrp == group {
			sum += used
		}
	}
	return sum, nil
}

// parseStat reads a line of /proc/PID/stat; see proc_pid_stat(5). The name, in parentheses, may hold anything.
func parseStat(line string) (group int, used time.Duration, ok bool) {
	fields := strings.Fields(line[strings.LastIndex(line, ")")+1:])
	if len(fields) < 13 {
		return 0, 0, false
	}
	group, err1 := strconv.Atoi(fields[2])                 // field 5: pgrp
	user, err2 := strconv.ParseInt(fields[11], 10, 64)     // field 14: utime
	inKernel, err3 := strconv.ParseInt(fields[12], 10, 64) // field 15: stime
	return group, time.Duration(user+inKernel) * clockTick, err1 == nil && err2 == nil && err3 == nil
}
