// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package gatehousetest

import "syscall"

// DieWithParent does nothing where the kernel has no such service; Cleanup still ends the child of a test that returns.
func DieWithParent() *syscall.SysProcAttr { return nil }

// listening is not known here: a request right after a reload may have to be sent again.
func listening(string) int { return 0 }
