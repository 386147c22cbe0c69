// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// began is the moment of the last request to some upstream: up to a millisecond ago.
func began() int64 { return time.Now().UnixNano() - rand.Int64N(1e6) }

// request counts a request, and returns over how many of n upstreams the key is spread.
func request(h *hotKeys, key uint64, n int) int {
	h.count(key, n, began())
	return h.replicas(key, n)
}

// traffic feeds the sketch n requests, 1000 a second: a share of them for one hot key, the rest for rare ones.
func traffic(h *hotKeys, n int, hot uint64, share float64) {
	for i := range n {
		if i%10 == 9 {
			time.Sleep(10 * time.Millisecond)
		}
		if rand.Float64() < share {
			request(h, hot, 10)
		} else {
			request(h, rand.Uint64(), 10)
		}
	}
}

func TestHotKeyIsFoundAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hot = 0xfeed
		h := newHotKeys(0.3, 10*time.Second)
		traffic(h, 20_000, hot, 0.35)
		if got := request(h, hot, 10); got != 10 { // 0.35*10/0.3 = 11.7
			t.Errorf("35 %% of the traffic gets %d of 10 upstreams, want all", got)
		}
		if got := request(h, hot, 4); got != 4 {
			t.Errorf("35 %% of the traffic gets %d of 4 upstreams, want all", got)
		}
		traffic(h, 60_000, hot, 0.12)
		if got := request(h, hot, 10); got < 3 || got > 6 { // 4, give or take the sampling
			t.Errorf("12 %% of the traffic gets %d of 10 upstreams, want about 4", got)
		}
		traffic(h, 120_000, hot, 0)
		if got := request(h, hot, 10); got != 1 {
			t.Errorf("a key that is gone for 2 minutes still gets %d upstreams", got)
		}
	})
}

func TestRareKeysAreNeverHot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHotKeys(0.3, 10*time.Second)
		for i := range 500_000 { // 5000 keys of equal frequency, ten times as many as the sketch has room for
			if i%100 == 99 {
				time.Sleep(10 * time.Millisecond)
			}
			key := scramble(uint64(i) % 5000)
			if got := request(h, key, 50); got != 1 {
				t.Fatalf("after %d requests, a key with 0.02 %% of the traffic gets %d upstreams", i, got)
			}
		}
	})
}

func TestFewRequestsMakeNoKeyHot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHotKeys(0.3, 10*time.Second)
		for range 600 { // all of the traffic, but five requests a second
			time.Sleep(200 * time.Millisecond)
			if got := request(h, 7, 10); got != 1 {
				t.Fatalf("5 requests a second got %d upstreams", got)
			}
		}
	})
}

// After a long silence the sketch must not halve once for every half-life that went by.
func TestSilenceCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHotKeys(0.3, time.Second)
		h.sample(1, 10, 0, time.Now())
		time.Sleep(20 * 365 * 24 * time.Hour)
		h.sample(1, 10, 0, time.Now())
		if got := h.total.Load(); got != 1 {
			t.Fatalf("the total is %d, want 1", got)
		}
	})
}

// A hot key is found, and a rare one is not hot, whatever became of the upstreams that are their first choices.
func TestHotKeysOfAnUpstreamThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, states := newPool(4)
		states[0].drained.Store(true)
		k := newRanking(states, nil)
		keys := make([]uint64, 0, 200)
		for key := uint64(1); len(keys) < cap(keys); key++ {
			if scrambled := scramble(key); k.table.first(scrambled) == 0 {
				keys = append(keys, scrambled)
			}
		}
		for _, hot := range keys[:20] {
			r := rule{hot: newHotKeys(0.3, 10*time.Second)}
			for i := range 20_000 {
				key := hot
				if i%2 == 0 {
					key = keys[20+rand.IntN(180)]
				}
				time.Sleep(time.Duration(rand.Int64N(1e6)))
				chosen := r.choose(k, pool, key, nil)
				states[slices.Index(pool, chosen)].used.Store(time.Now().UnixNano())
			}
			if got := r.hot.replicas(hot, 4); got != 4 {
				t.Errorf("half of the traffic gets %d of 4 upstreams, want all", got)
			}
			for _, rare := range keys[20:] {
				if got := r.hot.replicas(rare, 4); got != 1 {
					t.Fatalf("a key with 0.3 %% of the traffic gets %d upstreams", got)
				}
			}
		}
	})
}

func BenchmarkHotKeys(b *testing.B) {
	h := newHotKeys(0.3, 10*time.Second)
	key := uint64(1)
	for b.Loop() {
		key = scramble(key)
		h.count(key, 10, int64(key>>20))
		h.replicas(key, 10)
	}
}
