// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package respcache

// Elsewhere bodies stay on the heap.

func mapMemory(int) []byte { return nil }

func unmapMemory([]byte) {}

func dropPages([]byte) {}

func offset(_, _ []byte) int { return 0 }
