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
		Name: "chaos", Args: []string{"-short"}, After: "cycle 1", Processes: 5, Signal: syscall.SIGTERM, Output: "| failed GETs | 0 |",
	}.Run(t)
}
