// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"syscall"
	"unsafe"
)

// largePages asks the system for pages of 2 MiB under what is large and read here and there: with those of 4 KiB a processor
// spends as long on finding out where in memory a page is as on the memory itself. A system that has none goes on as before.
func largePages[T any](s []T) {
	const large = 2 << 20
	size := len(s) * int(unsafe.Sizeof(*new(T)))
	if size < 2*large {
		return
	}
	_ = syscall.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), size), syscall.MADV_HUGEPAGE)
}
