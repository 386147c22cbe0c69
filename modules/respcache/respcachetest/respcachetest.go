// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package respcachetest holds the tests that every implementation of respcache.OpenStore and of respcache.Feed must pass.
package respcachetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// budget is the stores' in this suite: it may be kept to within a tenth, as stores may reserve some of it.
const budget = 4 << 20

// RunStore tests a store. open returns an empty one with a budget in bytes; the suite closes it.
func RunStore(t *testing.T, open func(t *testing.T, budget int64) respcache.OpenStore) {
	for name, test := range map[string]func(*testing.T, respcache.OpenStore){
		"found at once":         foundAtOnce,
		"replaced":              replaced,
		"deleted":               deleted,
		"keeps to its budget":   keepsToBudget,
		"too large":             tooLarge,
		"resized":               resized,
		"walked":                walked,
		"many at once":          manyAtOnce,
		"the last one stays":    lastStays,
		"closed while in use":   closedInUse,
		"grows within a budget": grows,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, budget)
			test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
			if n := live.Load(); n != 0 {
				t.Errorf("%d values were not told, or told twice, that they are gone", n)
				live.Store(0)
			}
		})
	}
}

// live counts the values of one part of the suite that a store has and has not let go of.
var live atomic.Int64

// value is what the suite stores.
type value struct {
	t    *testing.T
	name string
	cost int64
	gone atomic.Bool
}

func (v *value) Cost() int64 { return v.cost }

func (v *value) Gone() {
	if v.gone.Swap(true) {
		v.t.Errorf("%s is gone twice", v.name)
	}
	live.Add(-1)
}

func put(t *testing.T, s respcache.Store, key string, cost int64) *value {
	v := &value{t: t, name: fmt.Sprintf("%s of %d", key, cost), cost: cost}
	live.Add(1)
	s.Put(key, v)
	return v
}

// get returns the value of a key, or nil.
func get(s respcache.Store, key string) *value {
	found, ok := s.Get(key)
	if !ok {
		return nil
	}
	return found.(*value)
}

func foundAtOnce(t *testing.T, s respcache.OpenStore) {
	for i := range 10_000 {
		key := fmt.Sprint("key", i)
		if v := put(t, s, key, 1000); get(s, key) != v {
			t.Fatalf("%s is not found right after it was put", key)
		}
	}
}

func replaced(t *testing.T, s respcache.OpenStore) {
	for i := range 1000 {
		key := fmt.Sprint("key", i%10)
		old := get(s, key)
		v := put(t, s, key, int64(1000+i))
		if got := get(s, key); got != v {
			t.Fatalf("got %v, want %v", got, v)
		}
		if old != nil && !old.gone.Load() {
			t.Fatal("a replaced value is not gone")
		}
	}
	// Also after it has gone from wherever new ones are kept first.
	first := put(t, s, "first", 1000)
	for i := range 2000 {
		put(t, s, fmt.Sprint("other", i), 1000)
	}
	if found := get(s, "first"); found != nil && found != first {
		t.Fatal("another value is found")
	}
	second := put(t, s, "first", 2000)
	if got := get(s, "first"); got != second {
		t.Fatalf("got %v, want %v", got, second)
	}
}

func deleted(t *testing.T, s respcache.OpenStore) {
	for i := range 3000 {
		put(t, s, fmt.Sprint("key", i), 1000)
	}
	for i := range 3000 {
		key := fmt.Sprint("key", i)
		s.Delete(key)
		if get(s, key) != nil {
			t.Fatalf("%s is found after it was deleted", key)
		}
	}
	s.Delete("never there")
	if f := s.Figures(); f.Items != 0 || f.Held != 0 {
		t.Errorf("an empty store has %+v", f)
	}
}

func keepsToBudget(t *testing.T, s respcache.OpenStore) {
	for i := range 20_000 {
		put(t, s, fmt.Sprint("key", i), 100+rand.Int64N(10_000))
		if f := s.Figures(); f.Held > budget+budget/10 {
			t.Fatalf("after %d values %d bytes are held", i, f.Held)
		}
	}
	if f := s.Figures(); f.Held < budget/2 || f.Items == 0 || f.Evicted+f.Rejected == 0 || f.Budget != budget {
		t.Errorf("a full store has %+v", f)
	}
}

func tooLarge(t *testing.T, s respcache.OpenStore) {
	put(t, s, "key", 1000)
	v := put(t, s, "key", 2*budget)
	if got := get(s, "key"); got == v || got != nil {
		t.Errorf("got %v", got)
	}
	if !v.gone.Load() {
		t.Error("a value that was not kept is not gone")
	}
	if f := s.Figures(); f.Held != 0 {
		t.Errorf("%d bytes are held", f.Held)
	}
}

func resized(t *testing.T, s respcache.OpenStore) {
	for i := range 4000 {
		put(t, s, fmt.Sprint("key", i), 1000)
	}
	s.Resize(budget / 4)
	if f := s.Figures(); f.Held > budget/4+budget/40 || f.Budget != budget/4 {
		t.Errorf("after it was made smaller: %+v", f)
	}
	s.Resize(2 * budget)
	for i := range 7000 {
		put(t, s, fmt.Sprint("more", i), 1000)
	}
	if f := s.Figures(); f.Held < budget+budget/2 {
		t.Errorf("after it was made larger: %+v", f)
	}
}

func walked(t *testing.T, s respcache.OpenStore) {
	seen := map[string]int{}
	for i := range 1000 {
		put(t, s, fmt.Sprint("key", i), 1000)
	}
	s.Walk(func(v respcache.Value) bool {
		seen[v.(*value).name]++
		return true
	})
	if len(seen) != 1000 {
		t.Errorf("%d values were visited", len(seen))
	}
	visits := 0
	s.Walk(func(respcache.Value) bool {
		visits++
		return visits < 10
	})
	if visits != 10 {
		t.Errorf("%d visits after the tenth said stop", visits)
	}
}

func manyAtOnce(t *testing.T, s respcache.OpenStore) {
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 3000 {
				key := fmt.Sprint("key", rand.IntN(500))
				switch rand.IntN(10) {
				case 0:
					s.Delete(key)
				case 1, 2, 3:
					put(t, s, key, 100+rand.Int64N(20_000))
				default:
					if v := get(s, key); v != nil && v.name[:len(key)] != key {
						t.Errorf("goroutine %d, step %d: %s gave %s", g, i, key, v.name)
					}
				}
			}
		})
	}
	group.Wait()
	if f := s.Figures(); f.Held > budget+budget/10 || f.Held < 0 {
		t.Errorf("afterwards: %+v", f)
	}
}

func lastStays(t *testing.T, s respcache.OpenStore) {
	// A warm store, in which every value is asked for often.
	for range 20 {
		for i := range 4000 {
			key := fmt.Sprint("key", i)
			if get(s, key) == nil {
				put(t, s, key, 1000)
			}
		}
	}
	for i := range 1000 {
		key := fmt.Sprint("new", i)
		v := put(t, s, key, 1000)
		if get(s, key) != v {
			t.Fatalf("new value %d did not get in", i)
		}
	}
}

func grows(t *testing.T, s respcache.OpenStore) {
	for cost := int64(1000); cost <= budget/8; cost *= 2 {
		for i := range 100 {
			put(t, s, fmt.Sprint("key", i), cost)
			if f := s.Figures(); f.Held > budget+budget/5 {
				t.Fatalf("at %d bytes each %d bytes are held", cost, f.Held)
			}
		}
	}
}

func closedInUse(t *testing.T, s respcache.OpenStore) {
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					put(t, s, fmt.Sprint("key", i%100), 1000)
					s.Delete(fmt.Sprint("key", i%7))
				}
			}
		})
	}
	for range 100 {
		put(t, s, "key", 1000)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	close(stop)
	group.Wait()
}
