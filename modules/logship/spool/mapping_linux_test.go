// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"os"
	"path/filepath"
	"testing"
)

// A page that cannot be had must not end the process.
func TestTouch(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "segment"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	memory, _, err := reserve(file, MinSegment, true)
	if err != nil || memory == nil {
		t.Fatalf("%d bytes, %v", len(memory), err)
	}
	if !touch(memory) {
		t.Error("pages that are there count as missing")
	}
	if err := file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if touch(memory) {
		t.Error("pages that are missing count as there")
	}
	if err := release(memory); err != nil {
		t.Error(err)
	}
}
