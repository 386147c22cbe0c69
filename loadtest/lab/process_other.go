// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package lab

import (
	"errors"
	"syscall"
	"time"
)

// OwnGroup puts a child into a process group of its own.
func OwnGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// cpuTime is read from /proc, which only Linux has.
func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

// resident is read from /proc, too.
func resident(int) (int64, error) { return 0, errors.ErrUnsupported }
