// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	hotSets = 128 // sets of the sketch, a power of two
	hotWays = 4   // keys a set
	// sampleBits makes one request of sixteen a sample: a share that matters is seen all the same, at a sixteenth of the cost.
	sampleBits = 4
	// leastSamples is what a key needs before it can be hot: 16 samples are about 256 requests within the half-life.
	leastSamples = 16
	// yieldBase and yieldLimit are HeavyKeeper's: a counter yields to a newcomer with the probability yieldBase^-count, and
	// from yieldLimit on, where that is below 1 %, no more.
	yieldBase  = 1.08
	yieldLimit = 64
)

// hotKeys estimates which keys have so large a share of the traffic that one upstream alone is the wrong place for them.
//
// It is a sketch of a fixed size, 6 KiB. Each key belongs to one set, where the most frequent keys hold a counter each; a
// newcomer wears the smallest counter down before it takes its place, the less likely the higher that one stands. So a
// rare key never inherits a frequent one's count, and estimates err on the low side: no key is spread without need.
// (The replacement rule is HeavyKeeper's, of Gong and others, USENIX ATC 2018.) All counters are halved once a
// half-life, so shares follow the traffic.
type hotKeys struct {
	share float64            // of an upstream's fair traffic that one key may bring to it
	yield [yieldLimit]uint32 // the probabilities of yielding, times 2^32
	sets  [hotSets]hotSet
	total atomic.Uint32 // samples, halved with the counters
	any   atomic.Bool   // a key was hot, and some may still be; else, nobody needs to look

	mu     sync.Mutex // guards changes; a sample that would have to wait is dropped
	period time.Duration
	halved time.Time
}

// hotSet is one set of the sketch. It is changed under hotKeys.mu and read without.
type hotSet struct {
	keys   [hotWays]atomic.Uint64
	counts [hotWays]atomic.Uint32
}

func newHotKeys(share float64, halfLife time.Duration) *hotKeys {
	h := &hotKeys{share: share, period: halfLife, halved: time.Now()}
	for count := range h.yield {
		h.yield[count] = uint32(math.Pow(yieldBase, -float64(count)) * math.MaxUint32)
	}
	return h
}

// count counts a request for the key, which goes to one of n upstreams. The moment in nanoseconds at which the last request to
// that upstream began says whether this one is a sample: that is chance enough, and at hand, where a random number would be a
// tenth of a choice. An upstream that gets no requests would not do: its moment stands still, and a key always counts or never.
func (h *hotKeys) count(key uint64, n int, last int64) {
	random := (key ^ uint64(last)) * 0x9e3779b97f4a7c15
	if random>>(64-sampleBits) == 0 && h.mu.TryLock() {
		h.sample(key, n, uint32(random>>24), time.Now())
		h.mu.Unlock()
	}
}

// replicas returns over how many of n upstreams the key is to be spread: 1 for all but hot keys.
func (h *hotKeys) replicas(key uint64, n int) int {
	if !h.any.Load() {
		return 1
	}
	set := &h.sets[key%hotSets]
	for way := range hotWays {
		if set.keys[way].Load() == key {
			return h.replicasFor(set.counts[way].Load(), n)
		}
	}
	return 1
}

func (h *hotKeys) replicasFor(count uint32, n int) int {
	if count < leastSamples {
		return 1
	}
	share := float64(count) / float64(max(h.total.Load(), count))
	return max(1, min(n, int(math.Ceil(share*float64(n)/h.share))))
}

// sample counts the key as one of n upstreams' traffic. h.mu is held.
func (h *hotKeys) sample(key uint64, n int, random uint32, now time.Time) {
	if now.Sub(h.halved) >= h.period {
		h.halve(now)
	}
	h.total.Add(1)
	set := &h.sets[key%hotSets]
	least := 0
	for way := range hotWays {
		count := set.counts[way].Load()
		if set.keys[way].Load() == key && count > 0 {
			set.counts[way].Store(count + 1)
			if h.replicasFor(count+1, n) > 1 {
				h.any.Store(true)
			}
			return
		}
		if count < set.counts[least].Load() {
			least = way
		}
	}
	h.challenge(set, least, key, random)
}

// challenge lets a new key wear down the counter of a way, and take its place when nothing is left of it.
func (h *hotKeys) challenge(set *hotSet, way int, key uint64, random uint32) {
	count := set.counts[way].Load()
	if count >= yieldLimit || random > h.yield[count] {
		return
	}
	if count > 1 {
		set.counts[way].Store(count - 1)
		return
	}
	set.counts[way].Store(0) // in this order, so that a reader never takes the old count for the new key's
	set.keys[way].Store(key)
	set.counts[way].Store(1)
}

// halve halves the counters once for every half-life that has passed.
func (h *hotKeys) halve(now time.Time) {
	times := now.Sub(h.halved) / h.period
	h.halved = h.halved.Add(times * h.period)
	shift := min(times, 31)
	some := false
	for i := range h.sets {
		for way := range hotWays {
			count := h.sets[i].counts[way].Load() >> shift
			h.sets[i].counts[way].Store(count)
			some = some || count >= leastSamples
		}
	}
	h.total.Store(h.total.Load() >> shift)
	h.any.Store(h.any.Load() && some) // a key that stays hot stays spread
}
