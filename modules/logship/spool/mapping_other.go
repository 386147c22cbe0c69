// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package spool

import "os"

// reserve does nothing where the system cannot reserve space and map it: segments are written to instead.
func reserve(*os.File, int64, bool) ([]byte, int64, error) { return nil, 0, nil }

func populate([]byte) error { return nil }

func release([]byte) error { return nil }

func flush([]byte, int64, int64) error { return nil }

func forget([]byte, int64) error { return nil }
