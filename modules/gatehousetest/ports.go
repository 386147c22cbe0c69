// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Ports for servers of tests lie below those that systems give to connections and to who asks for any port (32768 on Linux, 49152
// on macOS): what is free when it is looked at stays free until the server listens.
const (
	lowestPort  = 12000
	highestPort = 32000
)

// FreeAddress returns a loopback address that nobody listens on. Until the test ends it belongs to the test, also among test
// programs that run at once: Caddy shares ports between processes, so two servers on one would not even notice. Each user has locks
// of its own, as only a user's own processes can share a port, and nobody can write to another's folder.
func FreeAddress(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(os.TempDir(), "gatehouse-test-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	const patience = 1000
	for range patience {
		port := strconv.Itoa(lowestPort + rand.IntN(highestPort-lowestPort))
		lock, err := os.OpenFile(filepath.Join(folder, port), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if address := net.JoinHostPort("127.0.0.1", port); syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && isFree(address) {
			t.Cleanup(func() { _ = lock.Close() })
			return address
		}
		_ = lock.Close()
	}
	t.Fatalf("no port from %d to %d is free", lowestPort, highestPort)
	return ""
}

func isFree(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	return l.Close() == nil
}
