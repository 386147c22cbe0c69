// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package idempotency_test

// openFiles is a limit on open files that every system has.
func openFiles() int { return 1024 }
