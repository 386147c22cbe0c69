// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"math/rand/v2"
	"testing"
)

// Blocks that are handed out never overlap, and what is given back is used again.
func TestArena(t *testing.T) {
	a := &arena{poison: true}
	a.reserve(8 << 20)
	type held struct {
		block block
		mark  byte
	}
	var all []held
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 50_000 {
		if len(all) < 100 && random.IntN(2) == 0 {
			h := held{a.alloc(1 + random.IntN(128<<10)), byte(random.IntN(200))}
			for i := range h.block.data {
				h.block.data[i] = h.mark
			}
			all = append(all, h)
		} else if len(all) > 0 {
			i := random.IntN(len(all))
			h := all[i]
			for _, at := range []int{0, len(h.block.data) / 2, len(h.block.data) - 1} {
				if h.block.data[at] != h.mark {
					t.Fatalf("step %d: a block of %d bytes was overwritten", step, len(h.block.data))
				}
			}
			a.release(h.block, nil)
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
		}
	}
	for _, h := range all {
		a.release(h.block, nil)
	}
	if n := a.inUse.Load(); n != 0 {
		t.Errorf("%d bytes are in use", n)
	}
	// Everything can be used for the largest blocks again: no slab is left in pieces.
	for range 8 << 20 / slabSize {
		if b := a.alloc(slabSize); b.slab == nil && mapMemory(slabSize) != nil {
			t.Fatal("the reserve is used up")
		}
	}
}

// Bodies take little more than their length.
func TestReserveFitsClosely(t *testing.T) {
	m := new(memory)
	m.limit.Store(1 << 40)
	for _, n := range []int64{1, 100, 1 << 10, 1025, 5000, 15 << 10, 16 << 10, 16<<10 + 200, 100_000, 1 << 20, 1<<20 + 1} {
		b := newBody(m)
		if !b.reserve(n) {
			t.Fatal("no room")
		}
		if got := b.capacity(); got < n || got > n+max(n/4, 2*minBlock) {
			t.Errorf("%d bytes take %d", n, got)
		}
		b.release()
	}
	if n := m.arena.inUse.Load() + m.inFlight.Load(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
