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
		Name: "idempotency", Args: []string{"-keys", "3000"}, After: "keys are sent", Processes: 7, Signal: syscall.SIGTERM, Output: "duplicate effects 0",
	}.Run(t)
}
