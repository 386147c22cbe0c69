// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"errors"
	"syscall"
)

const noDisk = 47

func withOwnMounts(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }

func mountSmallDisk(string) error { return errors.ErrUnsupported }

func seenFrom(_ int, folder string) string { return folder }

func mayMount() bool { return false }
