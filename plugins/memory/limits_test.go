// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/reqlimittest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

func openLimits(t testing.TB) reqlimit.Store {
	t.Helper()
	return gatehousetest.Provision(t, new(LimitStore))
}

func TestLimitStore(t *testing.T) {
	reqlimittest.Run(t, func(t *testing.T) reqlimit.Store { return openLimits(t) },
		reqlimit.Sliding, reqlimit.Exact, reqlimit.Smooth, reqlimit.GCRA, reqlimit.Concurrency)
}

func TestLimitStoreRefusesTinyTables(t *testing.T) {
	store := &LimitStore{MaxMemory: 64 << 10}
	if err := store.Provision(gatehousetest.Context(t)); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(reqlimit.Spec{Policy: "p", Algorithm: reqlimit.Exact, Windows: 1, Limit: 100_000})
	if err == nil || !strings.Contains(err.Error(), "max_memory") {
		t.Errorf("got %v", err)
	}
	if err := (&LimitStore{MaxMemory: 1}).Provision(gatehousetest.Context(t)); err == nil {
		t.Error("a table of one byte is accepted")
	}
}

// Requests that a reset made uncounted give nothing back of what came after it.
func TestResetOfRequestsInFlight(t *testing.T) {
	f, rule := newInflight(), window.NewRule(window.Window{Limit: 2})
	ask := &reqlimit.Ask{Key: []byte("k"), Rule: &rule, Cost: 1}
	take := func() (result window.Result) {
		if err := f.Take(t.Context(), ask, &result); err != nil {
			t.Fatal(err)
		}
		return result
	}
	before := take()
	take()
	if err := f.Reset(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	after := take()
	if !after.Allowed || !take().Allowed {
		t.Fatal("the reset freed nothing")
	}
	for range 2 {
		if err := f.Give(t.Context(), ask, &before.Receipt); err != nil {
			t.Fatal(err)
		}
	}
	if take().Allowed {
		t.Error("three requests are in flight since the reset, and two may be")
	}
	if err := f.Give(t.Context(), ask, &after.Receipt); err != nil {
		t.Fatal(err)
	}
	if !take().Allowed {
		t.Error("a place that is free again is not given")
	}
}

// slidingTable makes a table with one sliding window.
func slidingTable(t testing.TB, limit int64, memory int64) (*table, *window.Rule) {
	t.Helper()
	spec := reqlimit.Spec{Policy: "p", Algorithm: reqlimit.Sliding, Buckets: window.DefaultBuckets, Windows: 1, Limit: limit}
	tab, err := newTable(spec, memory)
	if err != nil {
		t.Fatal(err)
	}
	rule := window.NewRule(window.Window{Limit: limit, Period: time.Hour})
	return tab, &rule
}

func take(t testing.TB, tab *table, rule *window.Rule, key []byte) bool {
	var result window.Result
	if err := tab.Take(context.Background(), &reqlimit.Ask{Key: key, Rule: rule, Cost: 1}, &result); err != nil {
		t.Fatal(err)
	}
	return result.Allowed
}

// A key that no longer counts makes room before any other, and comes back empty.
func TestExpiredKeysGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, rule := slidingTable(t, 1, minLimitMemory)
		places := tab.Usage().Keys
		for i := range places {
			take(t, tab, rule, fmt.Append(nil, i))
		}
		time.Sleep(3 * time.Hour)
		before := tab.Usage().Evicted
		for i := range places / 32 {
			if !take(t, tab, rule, fmt.Append(nil, "new ", i)) || !take(t, tab, rule, fmt.Append(nil, i)) {
				t.Fatal("a key that no longer counts is limited")
			}
		}
		if after := tab.Usage().Evicted; after != before {
			t.Errorf("%d keys were evicted while others were expired", after-before)
		}
	})
}

// Where all that share a place are limited, one of them has to go, and it is told.
func TestLimitedKeysGoLast(t *testing.T) {
	tab, rule := slidingTable(t, 1, minLimitMemory)
	for i := range 100 * tab.Usage().Keys {
		take(t, tab, rule, fmt.Append(nil, i))
		take(t, tab, rule, fmt.Append(nil, i))
	}
	usage := tab.Usage()
	if usage.EvictedLimited == 0 || usage.EvictedLimited > usage.Evicted {
		t.Errorf("usage %+v", usage)
	}
}

// Counts outlive the config that made them, as long as another one uses them.
func TestLimitsOutliveReloads(t *testing.T) {
	spec := reqlimit.Spec{Policy: t.Name(), Algorithm: reqlimit.GCRA, Windows: 1, Limit: 2}
	rule := window.NewRule(window.Window{Limit: 2, Period: time.Hour, Burst: 2})
	var old *LimitStore
	for range 5 {
		store := new(LimitStore)
		if err := store.Provision(gatehousetest.Context(t)); err != nil {
			t.Fatal(err)
		}
		c, err := store.Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		first := old == nil
		if !first {
			if err := old.Cleanup(); err != nil {
				t.Fatal(err)
			}
		}
		old = store
		if got := take(t, c.(*table), &rule, []byte("a")); got != first && !first {
			t.Fatal("a reload forgot the counts")
		}
		take(t, c.(*table), &rule, []byte("a"))
	}
	if err := old.Cleanup(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkLimits decides in memory: on one hot key, on 100,000 keys, on a key that is refused, and in three windows.
func BenchmarkLimits(b *testing.B) {
	const keys = 100_000
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "203.%d.%d.%d", i>>16, i>>8&255, i&255)
	}
	hour := func(limit int64) window.Window { return window.Window{Limit: limit, Period: time.Hour} }
	for _, c := range []struct {
		name    string
		keys    int
		windows []window.Window
	}{
		{"hot", 1, []window.Window{hour(window.MaxLimit)}},
		{"keys", keys, []window.Window{hour(window.MaxLimit)}},
		{"refused", 1, []window.Window{hour(1)}},
		{"three windows", keys, []window.Window{hour(1 << 28), hour(1 << 29), hour(1 << 29)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			tab, err := newTable(reqlimit.Spec{
				Policy: "p", Algorithm: reqlimit.Sliding, Buckets: window.DefaultBuckets, Windows: len(c.windows),
			}, 256<<20)
			if err != nil {
				b.Fatal(err)
			}
			rule := window.NewRule(c.windows...)
			for i := range c.keys { // the system gives memory at its first use, which is no part of a decision
				_ = tab.Take(context.Background(), &reqlimit.Ask{Key: names[i], Rule: &rule, Cost: 1}, new(window.Result))
			}
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				var result window.Result
				i := rand.IntN(c.keys)
				ask := reqlimit.Ask{Rule: &rule, Cost: 1}
				for pb.Next() {
					if i++; i >= c.keys {
						i = 0
					}
					ask.Key = names[i]
					_ = tab.Take(context.Background(), &ask, &result)
				}
			})
		})
	}
}

// TestDecisionAllocatesNothing holds what the benchmark shows.
func TestDecisionAllocatesNothing(t *testing.T) {
	tab, rule := slidingTable(t, 100, defaultLimitMemory)
	ask := reqlimit.Ask{Key: []byte("203.0.113.7"), Rule: rule, Cost: 1}
	var result window.Result
	if n := testing.AllocsPerRun(1000, func() { _ = tab.Take(context.Background(), &ask, &result) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
