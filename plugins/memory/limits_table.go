// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

const (
	// ways is how many keys share a set. Their tags fill a line of the processor's cache.
	ways = 8
	// maxLocks bounds the locks of a table; sets share them.
	maxLocks = 1024
	// loadBits is the part of a tag that says how much of its limit a key has used; loadFull is a key at its limit.
	loadBits = 0xff
	loadFull = 0xff
	// second is the unit of expiries, in nanoseconds as a shift: 1.07 s.
	second = 30
)

// table holds the states of a policy's keys: a fixed number of slots without pointers, so the garbage collector passes it by.
// A key is found by a seeded hash, of which the table keeps 56 bits besides those that choose the set.
type table struct {
	algorithm window.Algorithm
	stride    int // words of one window
	record    int // words of a slot: its expiry, then the windows
	sets      int
	always    bool
	seed      maphash.Seed
	base      time.Time
	locks     []paddedMutex

	memory         atomic.Pointer[slots]
	making         sync.Mutex // held while memory is made
	evicted        atomic.Uint64
	evictedLimited atomic.Uint64
}

// slots are made when the first request comes: a policy that is never asked takes nothing.
type slots struct {
	tags  []uint64 // hash, with the load in the lowest byte; 0 is free
	words []uint32
}

// paddedMutex keeps two locks out of one line of the cache.
type paddedMutex struct {
	sync.Mutex
	_ [56]byte
}

func newTable(spec reqlimit.Spec, memory int64) (*table, error) {
	algorithm, stride, err := arithmetic(spec)
	if err != nil {
		return nil, err
	}
	t := &table{
		algorithm: algorithm, stride: stride, record: 1 + stride*spec.Windows, always: spec.Always,
		seed: maphash.MakeSeed(), base: time.Now(),
	}
	slot := int64(8 + 4*t.record)
	t.sets = int(memory / (slot * ways))
	if t.sets == 0 {
		return nil, fmt.Errorf("policy %s: max_memory: %d bytes hold no %d keys of %d bytes each; a lower limit, "+
			"or an algorithm other than exact, takes less", spec.Policy, memory, ways, slot)
	}
	t.locks = make([]paddedMutex, min(t.sets, maxLocks))
	return t, nil
}

// slots returns the memory, making it the first time.
func (t *table) slots() *slots {
	if m := t.memory.Load(); m != nil {
		return m
	}
	t.making.Lock()
	defer t.making.Unlock()
	if m := t.memory.Load(); m != nil {
		return m
	}
	m := &slots{tags: make([]uint64, t.sets*ways), words: make([]uint32, t.sets*ways*t.record)}
	t.memory.Store(m)
	return m
}

// Destruct implements caddy.Destructor.
func (t *table) Destruct() error { return nil }

// place is where a key belongs.
type place struct {
	m    *slots
	set  int
	tag  uint64
	now  int64
	lock *paddedMutex
}

func (t *table) place(ask *reqlimit.Ask) place {
	h := maphash.Bytes(t.seed, ask.Key) ^ ask.Rule.Shape
	high, _ := bits.Mul64(h*0x9e3779b97f4a7c15, uint64(t.sets)) // spreads a difference of shapes over all bits
	return place{
		m: t.slots(), set: int(high), tag: h&^loadBits | loadBits + 1, // never 0
		now: int64(time.Since(t.base)), lock: &t.locks[int(high)%len(t.locks)],
	}
}

// find returns the key's slot, or -1.
func (p *place) find() int {
	for i, tag := range p.m.tags[p.set*ways : p.set*ways+ways] {
		if tag&^loadBits == p.tag {
			return p.set*ways + i
		}
	}
	return -1
}

// words returns a slot's states. Those that no longer count are cleared.
func (t *table) words(p *place, slot int) []uint32 {
	record := p.m.words[slot*t.record : (slot+1)*t.record]
	if uint32(p.now>>second) > record[0] {
		clear(record)
	}
	return record[1:]
}

// claim frees a slot for a new key: an empty or expired one, else the one with the least load, else the oldest.
func (t *table) claim(p *place) int {
	now := uint32(p.now >> second)
	best, bestScore := 0, ^uint64(0)
	for i := range ways {
		slot := p.set*ways + i
		tag, expiry := p.m.tags[slot], p.m.words[slot*t.record]
		if tag == 0 || now > expiry {
			best, bestScore = slot, 0
			break
		}
		if score := (tag&loadBits+1)<<32 | uint64(expiry); score < bestScore {
			best, bestScore = slot, score
		}
	}
	if bestScore > 0 {
		t.evicted.Add(1)
		if bestScore>>32 > loadFull {
			t.evictedLimited.Add(1)
		}
	}
	clear(p.m.words[best*t.record : (best+1)*t.record])
	return best
}

// Take implements reqlimit.Counters.
func (t *table) Take(_ context.Context, ask *reqlimit.Ask, result *window.Result) error {
	p := t.place(ask)
	p.lock.Lock()
	defer p.lock.Unlock()
	slot := p.find()
	if slot < 0 {
		if ask.Cost == 0 {
			window.Decide(t.algorithm, make([]uint32, t.record), t.stride, ask.Rule, p.now, 0, false, result)
			return nil
		}
		slot = t.claim(&p)
	}
	words := t.words(&p, slot)
	window.Decide(t.algorithm, words, t.stride, ask.Rule, p.now, ask.Cost, t.always, result)
	p.m.tags[slot] = p.tag | load(ask.Rule, result)
	// Twice the period is longer than any algorithm remembers, and expiries are rounded down.
	p.m.words[slot*t.record] = uint32((p.now+2*int64(ask.Rule.Longest))>>second) + 1
	return nil
}

// load is how much of its limit a key has used, from 0 to loadFull.
func load(r *window.Rule, result *window.Result) uint64 {
	if !result.Allowed {
		return loadFull
	}
	var most int64
	for i, w := range r.Windows {
		most = max(most, loadFull-result.States[i].Remaining*loadFull/w.Capacity())
	}
	return uint64(max(most, 0))
}

// Give implements reqlimit.Counters.
func (t *table) Give(_ context.Context, ask *reqlimit.Ask, receipt *window.Receipt) error {
	p := t.place(ask)
	p.lock.Lock()
	defer p.lock.Unlock()
	slot := p.find()
	if slot < 0 {
		return nil
	}
	words := t.words(&p, slot)
	for i, w := range ask.Rule.Windows {
		t.algorithm.Give(words[i*t.stride:(i+1)*t.stride], w, p.now, receipt[i], ask.Cost)
	}
	return nil
}

// Reset implements reqlimit.Counters.
func (t *table) Reset(_ context.Context, ask *reqlimit.Ask) error {
	p := t.place(ask)
	p.lock.Lock()
	defer p.lock.Unlock()
	if slot := p.find(); slot >= 0 {
		p.m.tags[slot] = 0
		clear(p.m.words[slot*t.record : (slot+1)*t.record])
	}
	return nil
}

// Usage implements reqlimit.Bounded.
func (t *table) Usage() reqlimit.Usage {
	return reqlimit.Usage{Keys: t.sets * ways, Evicted: t.evicted.Load(), EvictedLimited: t.evictedLimited.Load()}
}
