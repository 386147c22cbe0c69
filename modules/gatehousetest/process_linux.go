// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// DieWithParent has the kernel end a child when the test's process dies, also by a panic or a kill.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// listening counts the sockets that listen on a loopback address: proc_pid_net(5), where 0A is the state LISTEN.
func listening(address string) int {
	table, err := os.ReadFile("/proc/net/tcp")
	parsed, parseErr := netip.ParseAddrPort(address)
	if err != nil || parseErr != nil {
		return 0
	}
	return strings.Count(string(table), fmt.Sprintf(":%04X 00000000:0000 0A ", parsed.Port()))
}
