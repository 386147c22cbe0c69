// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package balance

// Arithmetic on millions of keys, in one goroutine: the race detector would find nothing, and take a minute for it.

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// manyKeys is how many keys the tests of fairness hash.
const manyKeys = 1_000_000

// owners returns the name of the first choice of every key from 0.
func owners(keys int, names []string, weights []float64) []string {
	t := newTable(names, weights)
	all := make([]string, keys)
	for i := range all {
		all[i] = names[t.first(hashed(fmt.Sprint("key-", i)))]
	}
	return all
}

func count(owners []string) map[string]float64 {
	counts := map[string]float64{}
	for _, owner := range owners {
		counts[owner]++
	}
	return counts
}

func TestKeysSpreadEvenly(t *testing.T) {
	for n, limit := range map[int]float64{5: 1.006, 10: 1.01, 50: 1.025} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			counts := count(owners(manyKeys, names(n), weightsOf(n, 1)))
			peak := 0.0
			for _, c := range counts {
				peak = max(peak, c/(manyKeys/float64(n)))
			}
			t.Logf("peak/mean %.4f", peak)
			if len(counts) != n || peak > limit {
				t.Fatalf("%d upstreams got keys, peak/mean %.4f; want %d, at most %.4f", len(counts), peak, n, limit)
			}
		})
	}
}

func TestWeightsAreKept(t *testing.T) {
	for _, n := range []int{5, 10} {
		weights := weightsOf(n, 1, 1, 2, 4, 8)
		counts := count(owners(manyKeys, names(n), weights))
		sum := 0.0
		for _, w := range weights {
			sum += w
		}
		for i, name := range names(n) {
			share, want := counts[name]/manyKeys, weights[i]/sum
			t.Logf("%s share %.5f, want %.5f, off by %.2f %%", name, share, want, 100*math.Abs(share/want-1))
			if math.Abs(share/want-1) > 0.01 {
				t.Errorf("%s has the share %.5f, want %.5f within 1 %%", name, share, want)
			}
		}
	}
}

func TestNoCollateralMoves(t *testing.T) {
	const n, keys = 10, 200_000
	all := names(n + 1)
	for name, pattern := range map[string][]float64{"equal": {1}, "weighted": {1, 1, 2, 4, 8}} {
		t.Run(name, func(t *testing.T) {
			weights := weightsOf(n+1, pattern...)
			before := owners(keys, all[:n], weights[:n])

			after := owners(keys, all, weights)
			checkMoves(t, "add", before, after, all[n])
			checkMoves(t, "remove", after, before, all[n])

			heavier := slices.Clone(weights[:n])
			heavier[3] *= 2
			checkMoves(t, "weigh", before, owners(keys, all[:n], heavier), all[3])

			doubled := slices.Clone(weights[:n])
			for i := range doubled {
				doubled[i] *= 2
			}
			if got := owners(keys, all[:n], doubled); !slices.Equal(got, before) {
				t.Error("doubling every weight moved keys")
			}
		})
	}
}

// checkMoves fails the test if a key moved between two upstreams neither of which is the changed one.
func checkMoves(t *testing.T, what string, before, after []string, changed string) {
	t.Helper()
	moved := 0
	for i := range before {
		if before[i] == after[i] {
			continue
		}
		moved++
		if before[i] != changed && after[i] != changed {
			t.Fatalf("%s: key %d moved from %s to %s, though only %s changed", what, i, before[i], after[i], changed)
		}
	}
	t.Logf("%s moved %.4f of the keys", what, float64(moved)/float64(len(before)))
	if moved == 0 {
		t.Errorf("%s moved nothing", what)
	}
}

// The second choice must be spread as evenly as the first, or a failed upstream's keys would all go to one other.
func TestSecondChoicesSpreadEvenly(t *testing.T) {
	const n, keys = 5, 500_000
	table := newTable(names(n), weightsOf(n, 1))
	var counts [n][n]float64
	for i := range keys {
		key := hashed(fmt.Sprint("key-", i))
		ranks := make([]uint64, n)
		for position := range ranks {
			ranks[position] = table.rank(key, position)
		}
		slices.Sort(ranks)
		counts[ranks[0]&table.position][ranks[1]&table.position]++
	}
	for first := range counts {
		for second, c := range counts[first] {
			want := float64(keys) / n / (n - 1)
			if first != second && math.Abs(c/want-1) > 0.03 {
				t.Errorf("%d keys have the choices %d, %d; want %.0f within 3 %%", int(c), first, second, want)
			}
		}
	}
}

func TestWaiting(t *testing.T) {
	check := func(x float64) {
		t.Helper()
		got, want := waiting(x), -math.Log1p(-x)
		if math.Abs(got-want) > 1e-12*want {
			t.Fatalf("waiting(%g) = %g, want %g", x, got, want)
		}
	}
	check(0)
	for i := range 1_000_000 {
		x := unit(scramble(uint64(i)))
		check(x)
		check(math.Floor(x*0x1p20) * 0x1p-53)       // close to 0
		check(1 - (math.Floor(x*0x1p20)+1)*0x1p-53) // close to 1
	}
}

// hashed is the hash of a key as requests have it.
func hashed(key string) uint64 {
	hash, _ := hashString(key)
	return hash
}
