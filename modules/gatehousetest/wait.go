// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"testing"
	"time"
)

// patience bounds Eventually. It is long, as tests share their machine; only one that fails waits so long.
const patience = time.Minute

// Eventually asks every few milliseconds whether something holds that other goroutines or processes bring about, and fails
// the test after a minute. In a testing/synctest bubble use Advance.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
