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

func TestCtrlCLeavesNothing(t *testing.T) {
	labtest.Interruption{
		Name: "logs", Args: []string{"-rate", "200", "-outage", "30s"}, After: "fault: receivers away", Processes: 5, Signal: syscall.SIGINT,
		Output: "| ship |",
	}.Run(t)
}
