// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ristretto

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// counted is a value that counts how often it is gone.
type counted struct {
	key  string
	cost int64
	gone atomic.Int32
}

func (c *counted) Cost() int64 { return c.cost }
func (c *counted) Gone()       { c.gone.Add(1) }

// check compares the window with the keys and with what is counted for it. Nobody writes meanwhile.
func (s *store) check(t *testing.T) {
	t.Helper()
	var cost int64
	n := 0
	for it := s.order.oldest; it != nil; it = it.newer {
		n++
		cost += it.cost
		if s.keys[it.key] != it || it.gone.Load() {
			t.Errorf("%q is in the window, and not found there", it.key)
		}
	}
	for key, it := range s.keys {
		if unsafe.StringData(key) != unsafe.StringData(it.key) {
			t.Errorf("%q is kept by an item that is not there any more", key)
		}
	}
	if n != len(s.keys) || cost != s.windowCost || cost > s.windowMax {
		t.Errorf("%d items of %d keys, of %d bytes, %d by the count, at most %d", n, len(s.keys), cost, s.windowCost, s.windowMax)
	}
}

// Each value goes once, and the window agrees with its figures, whatever is done at once.
func TestWindowInvariants(t *testing.T) {
	const budget = 1 << 20
	s, err := open(budget)
	if err != nil {
		t.Fatal(err)
	}
	var lists [6][]*counted
	act := func(list []*counted) []*counted {
		key := strconv.Itoa(rand.IntN(60))
		switch rand.IntN(24) {
		case 0:
			s.Resize(budget/4 + rand.Int64N(budget))
		case 1, 2, 3:
			s.Delete(key)
		case 4:
			s.Walk(func(respcache.Value) bool { return rand.IntN(50) > 0 })
		case 5, 6, 7, 8, 9, 10:
			if v, ok := s.Get(key); ok && v.(*counted).key != key {
				t.Errorf("%q is found for %q", v.(*counted).key, key)
			}
		default:
			v := &counted{key: key, cost: 1 + rand.Int64N(budget>>rand.IntN(12))}
			s.Put(key, v)
			return append(list, v)
		}
		return list
	}
	for range 10 {
		var group sync.WaitGroup
		for i := range lists {
			group.Go(func() {
				for range 100 {
					lists[i] = act(lists[i])
				}
			})
		}
		group.Wait()
		s.check(t)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	late := &counted{key: "late", cost: 1}
	s.Put("late", late)
	s.Delete("late")
	s.check(t)
	for _, v := range append(slices.Concat(lists[:]...), late) {
		if n := v.gone.Load(); n != 1 {
			t.Errorf("a value of %q is gone %d times", v.key, n)
		}
	}
	if f := s.Figures(); f.Held != 0 || f.Items != 0 {
		t.Errorf("%d bytes and %d items are held", f.Held, f.Items)
	}
}
