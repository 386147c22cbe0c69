// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package balance

import (
	"net/http/httptest"
	"testing"
)

// The guard costs no allocation, whether or not it leaves somebody out. (The race detector has sync.Pool allocate.)
func TestGuardDoesNotAllocate(t *testing.T) {
	p, pool, r := guardOf(t, `{"policy":"random"}`, 10)
	w := httptest.NewRecorder()
	check := func(when string) {
		t.Helper()
		if n := testing.AllocsPerRun(1000, func() { p.Select(pool, r, w) }); n != 0 {
			t.Errorf("%s: %g allocations", when, n)
		}
	}
	check("all")
	drained := registered.get(pool[3].Dial)
	registered.drain(drained)
	defer registered.undrain(drained)
	check("one drained")
}

func BenchmarkGuard(b *testing.B) {
	for _, name := range []string{"all", "one drained"} {
		b.Run(name, func(b *testing.B) {
			p, pool, r := guardOf(b, `{"policy":"random"}`, 10)
			if name != "all" {
				registered.drain(registered.get(pool[3].Dial))
				defer registered.undrain(registered.get(pool[3].Dial))
			}
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				if p.Select(pool, r, w) == nil {
					b.Fatal("none")
				}
			}
		})
	}
}
