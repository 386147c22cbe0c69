// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// names returns n upstream addresses.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("10.0.0.%d:8080", i+1)
	}
	return all
}

// weights repeats the given weights over n upstreams.
func weightsOf(n int, pattern ...float64) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = pattern[i%len(pattern)]
	}
	return all
}

func TestFirstHasTheLowestRank(t *testing.T) {
	for _, n := range []int{1, 2, 3, eager, eager + 1, 50, 3000} {
		for _, pattern := range [][]float64{{1}, {3, 0.5, 1}} {
			table := newTable(names(n), weightsOf(n, pattern...))
			for i := range 20_000 / n * 10 {
				key := scramble(uint64(i))
				best := table.rank(key, 0)
				for position := range n {
					best = min(best, table.rank(key, position))
				}
				if first := table.first(key); first != int(best&table.position) {
					t.Fatalf("n=%d %v: first is %d, the lowest rank is at %d", n, pattern, first, best&table.position)
				}
			}
		}
	}
}

// Fixed values: a release that fails this would send most keys of a running fleet elsewhere while it is rolled out.
func TestChoicesNeverChange(t *testing.T) {
	all := []string{"app1:3000", "app2:3000", "app3:3000", "unix//run/app.sock", "[2001:db8::1]:8080"}
	equal := newTable(all, weightsOf(5, 1))
	weighted := newTable(all, []float64{1, 2, 0.5, 4, 1})
	golden := []struct {
		key             string
		hash            uint64
		equal, weighted int
	}{
		{"203.0.113.7", 0xc80153a2410eb0ff, 4, 3},
		{"2001:db8::7", 0xc0dfcfc82f2ad1ae, 4, 1},
		{"alice", 0x73a3ea485f2e6049, 2, 1},
		{"/index.html?page=2", 0xe0636459a2c9348d, 4, 4},
		{"tenant-42", 0xf9fbb9a903514f40, 1, 1},
		{"x", 0x5c80c09683041123, 2, 1},
	}
	for _, g := range golden {
		hash := xxhash.Sum64String(g.key)
		if e, w := equal.first(hash), weighted.first(hash); hash != g.hash || e != g.equal || w != g.weighted {
			t.Errorf("{%q, %#x, %d, %d} was {%#x, %d, %d} in earlier releases", g.key, hash, e, w, g.hash, g.equal, g.weighted)
		}
	}
	if rank, want := weighted.rank(xxhash.Sum64String("alice"), 3), uint64(0x3fd819658dfb4803); rank != want {
		t.Errorf("the rank of alice at the fourth upstream is %#x, was %#x", rank, want)
	}
}

func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{5, 10, 50} {
		for name, pattern := range map[string][]float64{"equal": {1}, "weighted": {1, 1, 2, 4, 8}} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				table := newTable(names(n), weightsOf(n, pattern...))
				key, sum := uint64(1), 0
				for b.Loop() {
					key = scramble(key)
					sum += table.first(key)
				}
				_ = sum
			})
		}
	}
}
