// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Processes are told apart by /proc, and those of a build with the race detector take long to start: once is enough.
//go:build linux && !race

package main

import (
	"syscall"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m, main) }

func TestCtrlCLeavesNothing(t *testing.T) {
	labtest.Interruption{
		Name: "stack", Args: []string{"-short", "-vegeta", "/bin/true", "-o", t.TempDir()}, After: "building", Processes: 3, Signal: syscall.SIGINT,
	}.Run(t)
}
