// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

// dieWithParent does nothing where the kernel has no such service.
func dieWithParent() *syscall.SysProcAttr { return nil }
