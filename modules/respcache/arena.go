// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	slabSize  = 256 << 10 // the unit that classes take from the arena, and the largest block
	minBlock  = 1 << 10
	minShift  = 10
	classes   = 9 // 1 KiB to 256 KiB
	coldSlabs = 32
)

// arena holds the bodies of stored answers outside of the collected heap: at the default settings of the garbage collector
// a heap of B bytes takes up to 2 B of memory, and a cache is nothing but such bytes. Blocks have sizes of powers of two, cut
// from slabs; an empty slab serves any size. Where memory cannot be mapped, and when the reserve is used up, blocks come from the
// heap.
type arena struct {
	inUse atomic.Int64 // bytes of blocks that are handed out

	mu      sync.Mutex
	regions [][]byte // the reserve
	fresh   []byte   // of the last region: never used yet
	empty   []*slab  // used before
	partial [classes][]*slab
	poison  bool // for tests: overwrite what is freed
}

// slab is cut into blocks of one size.
type slab struct {
	mem   []byte
	class int
	free  [4]uint64 // a bit a block
	count int       // of free blocks
	at    int       // in partial; -1 if it is not there
	warm  bool      // its pages may be in memory
}

// block is a piece of memory.
type block struct {
	data []byte
	slab *slab // nil: of the heap
}

// reserve makes room for so many further bytes. It takes address space; memory is taken when it is written.
func (a *arena) reserve(bytes int64) {
	slabs := (bytes + slabSize - 1) / slabSize
	region := mapMemory(int(slabs * slabSize))
	if region == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.fresh) > 0 { // what is left of the region before
		a.empty = append(a.empty, &slab{mem: a.fresh[:slabSize:slabSize]})
		a.fresh = a.fresh[slabSize:]
	}
	a.regions = append(a.regions, region)
	a.fresh = region
}

// close gives the memory back. No block is in use any more; one that is, by a mistake, keeps the regions mapped: a leak is
// better than a fault.
func (a *arena) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inUse.Load() > 0 {
		return
	}
	for _, region := range a.regions {
		unmapMemory(region)
	}
	a.regions, a.fresh, a.empty, a.partial = nil, nil, nil, [classes][]*slab{}
}

// classOf is the smallest class whose blocks hold n bytes.
func classOf(n int) int {
	if n <= minBlock {
		return 0
	}
	return min(bits.Len(uint(n-1))-minShift, classes-1)
}

// alloc returns a block of at least n bytes, or of the largest size.
func (a *arena) alloc(n int) block {
	class := classOf(n)
	size := minBlock << class
	a.inUse.Add(int64(size))
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.slabOf(class)
	if s == nil {
		return block{data: make([]byte, size)}
	}
	i := 0
	for w, word := range s.free {
		if word != 0 {
			bit := bits.TrailingZeros64(word)
			s.free[w] &^= 1 << bit
			i = w*64 + bit
			break
		}
	}
	if s.count--; s.count == 0 {
		a.unlist(s)
	}
	return block{data: s.mem[i*size : (i+1)*size : (i+1)*size], slab: s}
}

// slabOf returns a slab of the class with a free block, or nil. The caller holds mu.
func (a *arena) slabOf(class int) *slab {
	if list := a.partial[class]; len(list) > 0 {
		return list[len(list)-1]
	}
	var s *slab
	switch {
	case len(a.empty) > 0:
		s = a.empty[len(a.empty)-1]
		a.empty = a.empty[:len(a.empty)-1]
	case len(a.fresh) > 0:
		s = &slab{mem: a.fresh[:slabSize:slabSize]}
		a.fresh = a.fresh[slabSize:]
	default:
		return nil
	}
	s.class, s.warm = class, true
	s.count = slabSize / (minBlock << class)
	s.free = [4]uint64{}
	for i := range s.count {
		s.free[i/64] |= 1 << (i % 64)
	}
	a.list(s)
	return s
}

func (a *arena) list(s *slab) {
	s.at = len(a.partial[s.class])
	a.partial[s.class] = append(a.partial[s.class], s)
}

func (a *arena) unlist(s *slab) {
	list := a.partial[s.class]
	last := list[len(list)-1]
	list[s.at], last.at = last, s.at
	list[len(list)-1] = nil
	a.partial[s.class] = list[:len(list)-1]
	s.at = -1
}

// release gives blocks back. Nobody reads them any more.
func (a *arena) release(first block, more []block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free(first)
	for _, b := range more {
		a.free(b)
	}
}

// free gives one block back. The caller holds mu.
func (a *arena) free(b block) {
	a.inUse.Add(-int64(len(b.data)))
	if a.poison {
		for i := range b.data {
			b.data[i] = 0xDD
		}
	}
	if b.slab != nil {
		a.put(b)
	}
}

// put returns one block to its slab. The caller holds mu.
func (a *arena) put(b block) {
	s := b.slab
	size := minBlock << s.class
	i := offset(s.mem, b.data) / size
	s.free[i/64] |= 1 << (i % 64)
	if s.count++; s.count == 1 && size < slabSize {
		a.list(s)
	}
	if s.count < slabSize/size {
		return
	}
	if size < slabSize {
		a.unlist(s)
	}
	a.empty = append(a.empty, s)
	// Some empty slabs stay in memory for what comes next; the pages of further ones go back to the system.
	if n := len(a.empty) - coldSlabs; n > 0 {
		if cold := a.empty[n-1]; cold.warm {
			dropPages(cold.mem)
			cold.warm = false
		}
	}
}
