// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package processors

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// seats reports whether a processor can be occupied here. Go's preemption has to be able to interrupt who occupies it.
func seats() bool { return !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1") }

// occupy sleeps while Go believes that this goroutine runs: nobody else gets its processor, and it is not idle. It has to be
// short (below 10 ms, when Go preempts). Whatever stops the world, such as a garbage collection, interrupts it by a signal,
// as it does loops: then occupy reports false.
func occupy(d time.Duration) bool {
	until := syscall.NsecToTimespec(int64(d))
	_, _, interrupted := syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&until)), 0, 0)
	runtime.Gosched()
	return interrupted == 0
}
