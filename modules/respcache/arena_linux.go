// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package respcache

import (
	"syscall"
	"unsafe"
)

// mapMemory reserves address space, or returns nil. Its pages take memory once they are written.
func mapMemory(size int) []byte {
	region, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	return region
}

func unmapMemory(region []byte) { _ = syscall.Munmap(region) }

// dropPages gives the memory of mapped pages back to the system; they read as zeros afterwards.
func dropPages(mem []byte) { _ = syscall.Madvise(mem, syscall.MADV_DONTNEED) }

// offset is where part begins within whole, which it is cut from.
func offset(whole, part []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(whole))))
}
