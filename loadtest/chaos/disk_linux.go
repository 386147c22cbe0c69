// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// noDisk is the status of a proxy that could not mount its disk.
const noDisk = 47

// smallDisk is the size of the disk that is filled.
const smallDisk = "size=2m"

// withOwnMounts gives a child mounts of its own, so that its disk ends with it. The superuser may do so.
func withOwnMounts(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	attr.Unshareflags = syscall.CLONE_NEWNS
	return attr
}

// mountSmallDisk is run by the child.
func mountSmallDisk(folder string) error {
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, smallDisk); err != nil {
		return fmt.Errorf("mounting a small disk: %w", err)
	}
	return nil
}

// seenFrom is a folder as the process sees it.
func seenFrom(pid int, folder string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", pid), folder)
}

// mayMount says whether this process may give a child a disk.
func mayMount() bool { return os.Geteuid() == 0 }
