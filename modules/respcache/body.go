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
	first  block   // of no length if there is none: most bodies have this one alone
	more   []block // after the first
	size   int64   // bytes of content
	flying int64   // bytes that count as in flight; 0 once it is published
	beside int64   // bytes that it keeps in memory with an object that is not its own
}

func newBody(m *memory) *body {
	b := &body{beside: bodyOverhead}
	b.begin(m)
	return b
}

// begin makes an empty body.
func (b *body) begin(m *memory) {
	b.memory = m
	b.refs.Store(1)
}

// block returns one of the blocks, or one of no length after the last.
func (b *body) block(i int) block {
	switch {
	case i == 0:
		return b.first
	case i <= len(b.more):
		return b.more[i-1]
	}
	return block{}
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
		b.memory.arena.release(b.first, b.more)
		b.first, b.more = block{}, nil
	case n < 0:
		panic("BUG: a body was released more often than acquired")
	}
}

// linger keeps the body for a while, after a write of it failed. Others may give their references back meanwhile.
func (b *body) linger() {
	if len(b.first.data) > 0 && b.acquire() {
		time.AfterFunc(quarantine, b.release)
	}
}

// capacity is what the blocks take.
func (b *body) capacity() (n int64) {
	n = int64(len(b.first.data))
	for _, block := range b.more {
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
	if block := b.memory.arena.alloc(n); len(b.first.data) == 0 {
		b.first = block
	} else {
		b.more = append(b.more, block)
	}
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
	for i := 0; length > 0; i++ {
		block := b.block(i)
		size := int64(len(block.data))
		if size == 0 {
			return nil
		}
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
	for i := 0; ; i++ {
		block := b.block(i)
		size := int64(len(block.data))
		if size == 0 {
			return nil
		}
		if pos < size {
			return block.data[pos:min(size, end)]
		}
		pos, end = pos-size, end-size
	}
}
