// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package ipban

// largePages does nothing where the system chooses by itself.
func largePages[T any]([]T) {}
