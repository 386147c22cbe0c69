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
// asked to, with its pages present and writable up to a place. Where files cannot be mapped safely it returns no memory, and
// no error.
func reserve(file *os.File, n int64, mapped bool) (memory []byte, present int64, err error) {
	err = ignoringInterrupts(func() error { return unix.Fallocate(int(file.Fd()), 0, 0, n) })
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return nil, 0, nil // a store into a file without reserved space may fault
	case err != nil:
		return nil, 0, fmt.Errorf("reserving the space of a segment: %w", err)
	case !mapped:
		return nil, 0, nil
	}
	memory, err = unix.Mmap(int(file.Fd()), 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, 0, nil
	}
	present = min(step, n)
	if populate(memory[:present]) == nil {
		return memory, present, nil
	}
	if !touch(memory) {
		return nil, 0, release(memory)
	}
	return memory, n, nil
}

// populate has pages present and writable. Their contents stay as they are. It needs Linux 5.14.
func populate(memory []byte) error { return unix.Madvise(memory, unix.MADV_POPULATE_WRITE) }

// touch has the pages of a new mapping present, which it clears, and reports whether they can be: some filesystems promise space that they lack.
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

// forget gives back the memory of the pages before a place, whose records are whole. The kernel keeps them, for the disk and for who
// reads the file.
func forget(memory []byte, to int64) error {
	pages := int(to) / os.Getpagesize() * os.Getpagesize()
	if memory == nil || pages == 0 {
		return nil
	}
	if err := unix.Madvise(memory[:pages], unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("giving back the memory of a segment: %w", err)
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
