// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// reserve takes n bytes of the disk for the file, so that none of its records finds it full, and maps it into memory if
// asked to, with its pages present and writable. Where files cannot be mapped safely it returns no memory, and no error.
func reserve(file *os.File, n int64, mapped bool) ([]byte, error) {
	err := ignoringInterrupts(func() error { return unix.Fallocate(int(file.Fd()), 0, 0, n) })
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return nil, nil // a store into a file without reserved space may fault
	case err != nil:
		return nil, fmt.Errorf("reserving the space of a segment: %w", err)
	case !mapped:
		return nil, nil
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil
	}
	if unix.Madvise(memory, unix.MADV_POPULATE_WRITE) != nil && !touch(memory) { // it came with Linux 5.14
		return nil, release(memory)
	}
	return memory, nil
}

// touch has the pages of a mapping present, and reports whether they can be: some filesystems promise space that they lack.
func touch(memory []byte) (ok bool) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		ok = recover() == nil
	}()
	for at := 0; at < len(memory); at += os.Getpagesize() {
		memory[at] = 0
	}
	return true
}

// release gives the memory of reserve back.
func release(memory []byte) error {
	if memory == nil {
		return nil
	}
	if err := unix.Munmap(memory); err != nil {
		return fmt.Errorf("unmapping a segment: %w", err)
	}
	return nil
}

// flush waits until the pages from one place of the mapping to another are on the disk. A sync of the whole file would
// write pages that are still to be filled too, and have each fault again.
func flush(memory []byte, from, to int64) error {
	page := int64(os.Getpagesize())
	from = from / page * page
	if err := unix.Msync(memory[from:to], unix.MS_SYNC); err != nil {
		return fmt.Errorf("syncing a segment: %w", err)
	}
	return nil
}

func ignoringInterrupts(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
