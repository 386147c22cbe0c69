// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"io"
	"sync/atomic"
	"time"
)

// quarantine is how long a body is kept after a write of it failed. The HTTP/2 server gives a write up when its stream ends,
// and may yet copy from the slice it was given: the bytes must not be another answer's by then.
const quarantine = 5 * time.Second

// memory is the room for bodies: an arena, and a bound for those that are in flight and so no part of the store's budget.
type memory struct {
	arena    arena
	inFlight atomic.Int64 // bytes of bodies that are being received
	limit    atomic.Int64 // for inFlight
}

// body is a stored body in blocks of memory, which its last user gives back.
type body struct {
	memory *memory
	refs   atomic.Int32
	blocks []block
	one    [1]block // room for blocks: most bodies are small
	size   int64    // bytes of content
	flying int64    // bytes that count as in flight; 0 once it is published
}

func newBody(m *memory) *body {
	b := &body{memory: m}
	b.blocks = b.one[:0]
	b.refs.Store(1)
	return b
}

// acquire takes a reference, unless the body is gone already.
func (b *body) acquire() bool {
	for {
		n := b.refs.Load()
		if n <= 0 {
			return false
		}
		if b.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (b *body) release() {
	switch n := b.refs.Add(-1); {
	case n == 0:
		b.memory.inFlight.Add(-b.flying)
		b.memory.arena.release(b.blocks)
		b.blocks, b.one = nil, [1]block{}
	case n < 0:
		panic("BUG: a body was released more often than acquired")
	}
}

// linger keeps the body for a while, after a write of it failed. Others may give their references back meanwhile.
func (b *body) linger() {
	if len(b.blocks) > 0 && b.acquire() {
		time.AfterFunc(quarantine, b.release)
	}
}

// capacity is what the blocks take.
func (b *body) capacity() (n int64) {
	for _, block := range b.blocks {
		n += int64(len(block.data))
	}
	return n
}

// grow adds a block for about n further bytes. It reports false if too many bytes are in flight.
func (b *body) grow(n int) bool {
	size := int64(minBlock << classOf(n))
	if b.memory.inFlight.Add(size) > b.memory.limit.Load() {
		b.memory.inFlight.Add(-size)
		return false
	}
	b.flying += size
	b.blocks = append(b.blocks, b.memory.arena.alloc(n))
	return true
}

// reserve makes room for n bytes in blocks that fit closely: powers of two, the largest first.
func (b *body) reserve(n int64) bool {
	for n > 0 {
		size := int64(minBlock)
		for size*2 <= n && size < slabSize {
			size *= 2
		}
		if n > size && n < 2*size && 2*size-n < size/8 { // one block with little waste beats many small ones
			size *= 2
		}
		if !b.grow(int(min(size, slabSize))) {
			return false
		}
		n -= size
	}
	return true
}

// published says that the store accounts for the body from now on.
func (b *body) published() {
	b.memory.inFlight.Add(-b.flying)
	b.flying = 0
}

// writeTo writes a part of the body.
func (b *body) writeTo(w io.Writer, start, length int64) error {
	for _, block := range b.blocks {
		if length == 0 {
			return nil
		}
		size := int64(len(block.data))
		if start >= size {
			start -= size
			continue
		}
		n := min(size-start, length)
		if _, err := w.Write(block.data[start : start+n]); err != nil {
			b.linger()
			return err
		}
		start, length = 0, length-n
	}
	return nil
}

// copyFrom copies the first n bytes of another body to a position. There is room for them, and nobody reads it yet.
func (b *body) copyFrom(pos int64, other *body, n int64) {
	for from := int64(0); from < n; {
		from += int64(copy(b.at(pos+from, pos+n), other.at(from, n)))
	}
}

// at returns content from a position on, as far as it lies in one block and below end.
func (b *body) at(pos, end int64) []byte {
	for _, block := range b.blocks {
		size := int64(len(block.data))
		if pos < size {
			return block.data[pos:min(size, end)]
		}
		pos, end = pos-size, end-size
	}
	return nil
}
