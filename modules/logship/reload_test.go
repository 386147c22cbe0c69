// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

func TestReloads(t *testing.T) {
	gatehousetest.NoLeaks(t)
	dir := t.TempDir()
	a, b := newReceiver(t, "a"), newReceiver(t, "b")
	config := func(i int) string {
		switch i % 5 {
		case 1:
			return site(dir, "sink testing a", "max_size 2MiB")
		case 2:
			return site(dir, "sink testing a", "sink testing:other b")
		case 3:
			return site(dir, "sink testing a", "segment_size 64KiB", "timeout 1s")
		}
		return site(dir, "sink testing a")
	}
	s := gatehousetest.Start(t, config(0))
	sent := 0
	for i := range 50 {
		requests(t, s, 5)
		sent += 5
		if err := s.Reload(config(i)); err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
	}
	requests(t, s, 5)
	sent += 5
	a.await(t, uint64(sent))
	if got := b.verify(t); got.Duplicates+got.Unreadable > 0 {
		t.Errorf("the other sink has %+v", got)
	}
}

func TestRejectedReload(t *testing.T) {
	dir := t.TempDir()
	a, b := newReceiver(t, "a"), newReceiver(t, "b")
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	for range 5 {
		requests(t, s, 5)
		broken := site(dir, "sink testing b", "max_size 1MiB") + "\n:8082 {\n tls /nonexistent.pem /nonexistent.key\n}"
		if err := s.Reload(broken); err == nil {
			t.Fatal("the broken config was accepted")
		}
	}
	requests(t, s, 5)
	gatehousetest.Eventually(t, "everything is delivered", func() bool { return status(t, s).Sinks[0].Pending == 0 })
	// While it is being loaded, the broken config's sink gets lines too; none may be lost for that, and none come twice.
	var v logship.Verifier
	for _, line := range slices.Concat(a.lines, b.lines) {
		if err := v.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if got := v.Report(); got.Lines != 30 || got.Missing+got.Duplicates > 0 {
		t.Errorf("what has arrived is %+v, status is %+v", got, status(t, s))
	}
}

// TestReloadsLeakNothing: reloads with changed options leave no goroutine and no file behind, 1,000 of them with
// GATEHOUSE_FIGURES=1. A tenth of that would show what leaks at each.
func TestReloadsLeakNothing(t *testing.T) {
	n := 100
	if os.Getenv("GATEHOUSE_FIGURES") != "" {
		n = 1000
	}
	gatehousetest.NoLeaks(t)
	dir := t.TempDir()
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	requests(t, s, 10)
	r.await(t, 10)
	reload := func(i int) {
		if err := s.Reload(site(dir, "sink testing a", fmt.Sprintf("max_size %dMiB", 1+i%100))); err != nil {
			t.Fatal(err)
		}
	}
	reload(0)
	before, goroutines := openFiles(t), runtime.NumGoroutine()
	for i := range n {
		reload(i)
	}
	requests(t, s, 10)
	r.await(t, 20)
	s.Client.CloseIdleConnections()
	gatehousetest.Eventually(t, "no file is left open", func() bool { return openFiles(t) <= before+2 }) // sockets that are being closed come and go
	gatehousetest.Eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	if r.closed < n {
		t.Errorf("%d of %d sinks were cleaned up", r.closed, n)
	}
	t.Logf("after %d reloads: %d open files, %d before; %d goroutines, %d before", n, openFiles(t), before, runtime.NumGoroutine(), goroutines)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
