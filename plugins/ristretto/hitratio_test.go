// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ristretto

import (
	"container/list"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

const (
	universe  = 100_000 // URLs
	rate      = 60_000  // requests a second
	itemCost  = 4 << 10
	driftsAt  = 100_000 // requests between two shifts of popularity
	driftStep = universe / 20
)

// lru is what the store is compared with.
type lru struct {
	max   int
	order *list.List
	keys  map[int]*list.Element
}

func (l *lru) get(key int) bool {
	if e := l.keys[key]; e != nil {
		l.order.MoveToFront(e)
		return true
	}
	l.keys[key] = l.order.PushFront(key)
	if l.order.Len() > l.max {
		delete(l.keys, l.order.Remove(l.order.Back()).(int))
	}
	return false
}

// sized is a value of the test.
type sized struct{}

func (sized) Cost() int64 { return itemCost }
func (sized) Gone()       {}

// replay asks a store and an LRU for the same URLs, at the rate of a busy proxy, and returns their hit ratios in percent,
// after a warm-up.
func replay(t testing.TB, requests, items int, drift bool) (store, reference float64) {
	s, err := open(int64(items) * itemCost)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	least := &lru{max: items, order: list.New(), keys: map[int]*list.Element{}}
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.01, 1, universe-1)
	names := make([]string, universe)
	for i := range names {
		names[i] = fmt.Sprint("https://example.com/", i)
	}
	begun, hits, leastHits, counted, shift := time.Now(), 0, 0, 0, 0
	for n := range requests {
		if n%60 == 0 { // every ms
			time.Sleep(time.Until(begun.Add(time.Duration(n) * time.Second / rate)))
		}
		if drift && n%driftsAt == driftsAt-1 {
			shift += driftStep
		}
		key := (int(zipf.Uint64())*7919 + shift) % universe
		_, hit := s.Get(names[key])
		if !hit {
			s.Put(names[key], sized{})
		}
		leastHit := least.get(key)
		if n >= requests/6 {
			counted++
			if hit {
				hits++
			}
			if leastHit {
				leastHits++
			}
		}
	}
	return 100 * float64(hits) / float64(counted), 100 * float64(leastHits) / float64(counted)
}

// The store keeps what is asked for at least as well as an LRU, and nearly as well while popularity shifts.
//
// The figures of the documentation are measured with GATEHOUSE_FIGURES=1 on an idle machine. Otherwise the test is a short one that
// finds a store which keeps the wrong answers, and no small difference.
func TestHitRatio(t *testing.T) {
	requests, tolerance, shares := 600_000, 0.0, []int{10, 1}
	if os.Getenv("GATEHOUSE_FIGURES") == "" {
		requests, tolerance, shares = 150_000, 5, shares[:1]
		t.Logf("the short form: %d requests, %g points less are enough", requests, tolerance)
	}
	for _, share := range shares {
		for _, drift := range []bool{false, true} {
			store, reference := replay(t, requests, universe*share/100, drift)
			t.Logf("cache of %d %%, drift %v: %.1f %%, LRU %.1f %%", share, drift, store, reference)
			want := reference - tolerance
			if drift {
				want -= 2.5
			}
			if store < want {
				t.Errorf("cache of %d %%, drift %v: %.1f %%, want at least %.1f %%", share, drift, store, want)
			}
		}
	}
}
