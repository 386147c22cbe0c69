// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Line is a line as it is read.
type Line struct {
	// Seq is its number, from 1.
	Seq uint64
	// Time is when it was added.
	Time time.Time
	// Data is valid until the next call of Read.
	Data []byte
}

// Chunk is lines that were read together, all of one epoch. It may have no lines, if there was only damage.
type Chunk struct {
	// Epoch is that in which they were added.
	Epoch uint64
	// Lines are in the order of their numbers. They are valid until the next call of Read.
	Lines []Line
	// Damaged is how many lines before and between them could not be read.
	Damaged uint64

	start, end position
}

// Bytes is what the chunk takes in the spool.
func (c *Chunk) Bytes() uint64 { return c.end.byte - c.start.byte }

// maxFailures is how often the disk may fail to read a segment.
const maxFailures = 5

// errGone says that the segment was given up before it was read.
var errGone = errors.New("the segment is gone")

// Read returns the lines after those that were read last, at least one and at most so many, or a few bytes more than so
// many; nil if there are none. A chunk that was being delivered when the process ended is read again as it was.
func (c *Cursor) Read(lines int, bytes int64) (*Chunk, error) {
	for {
		from, limit, ok := c.begin()
		if !ok {
			return nil, nil
		}
		chunk, err := c.readFrom(from, limit, lines, bytes)
		if errors.Is(err, errGone) {
			continue
		}
		if chunk, err = c.insist(from, limit, chunk, err); err != nil {
			return nil, err
		}
		c.spool.mu.Lock()
		c.next, c.resume = chunk.end, resume{}
		c.spool.mu.Unlock()
		return chunk, nil
	}
}

// insist gives the rest of a segment up for damaged if the disk has failed to read it several times over, so that the lines
// behind it get their turn.
func (c *Cursor) insist(from position, to extent, chunk *Chunk, err error) (*Chunk, error) {
	if !errors.Is(err, errUnreadable) {
		c.failures = 0
		return chunk, err
	}
	if c.failures++; c.failures < maxFailures {
		return nil, err
	}
	c.failures = 0
	end := position{
		seg: from.seg, off: to.end, seq: to.last,
		line: from.seg.lineBase + to.count, byte: from.byte + uint64(to.end-from.off),
	}
	return &Chunk{Epoch: from.seg.epoch, Damaged: to.last - from.seq, start: from, end: end}, nil
}

// extent bounds a reading: where the segment ends, and which numbers it may hold.
type extent struct {
	end    int64
	last   uint64
	count  uint64
	full   bool // nothing will be added
	resume resume
}

// begin returns where to read, and how far.
func (c *Cursor) begin() (position, extent, bool) {
	s := c.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.settle(c.next)
	if from.off >= from.seg.end {
		return from, extent{}, false
	}
	return from, extent{
		end: from.seg.end, last: from.seg.lastSeq, count: from.seg.count,
		full: from.seg != s.active(), resume: c.resume,
	}, true
}

// settle moves a position from the end of a segment, or from one that is gone, to where the next record is.
func (s *Spool) settle(p position) position {
	g, off := s.locate(p)
	if g == p.seg && off == p.off {
		return p
	}
	return position{seg: g, off: off, seq: max(p.seq, g.firstSeq-1), line: g.lineBase, byte: g.byteBase}
}

// locate returns the segment and the place in it of the first record after a position.
func (s *Spool) locate(p position) (*segment, int64) {
	if p.seg == nil || p.seg.gone {
		return s.segs[0], segmentHeader
	}
	if p.off < p.seg.end || p.seg == s.active() {
		return p.seg, p.off
	}
	for _, g := range s.segs { // oldest first
		if g.follows(p.seg) {
			return g, segmentHeader
		}
	}
	return p.seg, p.off
}

// follows reports whether g was made after other.
func (g *segment) follows(other *segment) bool {
	return g.epoch > other.epoch || g.epoch == other.epoch && g.num > other.num
}

// readFrom reads one chunk, from one segment.
func (c *Cursor) readFrom(from position, to extent, lines int, bytes int64) (*Chunk, error) {
	if to.resume.last > 0 {
		lines, bytes = int(to.count), to.resume.bytes
	}
	if err := c.open(from, to, bytes); err != nil {
		return nil, err
	}
	w := &c.walk
	chunk := &Chunk{Epoch: from.seg.epoch, Lines: c.lines[:0], start: from, end: from}
	for len(chunk.Lines) < lines && (len(chunk.Lines) == 0 || w.off-from.off < bytes && w.buffered()) {
		before := w.last
		rec, ok, err := w.next()
		if err != nil {
			return nil, err
		}
		if !ok { // the rest of the segment is damaged, or there is nothing more
			if w.off < to.end {
				chunk.Damaged += to.last - before
				w.off, w.last = to.end, to.last
			}
			break
		}
		if w.damage > 0 {
			chunk.Damaged += rec.seq - before - 1
		}
		chunk.Lines = append(chunk.Lines, Line{Seq: rec.seq, Time: time.Unix(0, rec.time).UTC(), Data: rec.data})
		if rec.seq == to.resume.last {
			break
		}
	}
	chunk.end = after(from, chunk, w, to)
	c.lines = chunk.Lines
	return chunk, nil
}

// after is where a chunk ends.
func after(from position, chunk *Chunk, w *walker, to extent) position {
	p := position{seg: from.seg, off: w.off, seq: w.last, byte: from.byte + uint64(w.off-from.off)}
	last := from.seg.lineBase + to.count
	p.line = min(from.line+uint64(len(chunk.Lines))+chunk.Damaged, last)
	if to.full && w.off >= to.end { // dropped lines have numbers, too, so what was damaged may be less
		p.line = last
	}
	return p
}

// open has the walker stand at a position.
func (c *Cursor) open(from position, to extent, bytes int64) error {
	if c.at != from.seg {
		if c.read != nil {
			_ = c.read.Close() // it was only read from
			c.read, c.at = nil, nil
		}
		file, err := os.Open(from.seg.path)
		if errors.Is(err, os.ErrNotExist) && c.isGone(from.seg) {
			return errGone
		}
		if err != nil {
			return fmt.Errorf("opening a segment: %w", err)
		}
		c.read, c.at = file, from.seg
		c.walk = walker{src: file, buf: c.walk.buf[:0]}
	}
	w := &c.walk
	w.off, w.end, w.last, w.limit, w.ahead = from.off, to.end, from.seq, to.last, bytes+window
	w.buf = w.buf[:0] // records may have been added behind what it holds
	return nil
}

func (c *Cursor) isGone(g *segment) bool {
	c.spool.mu.Lock()
	defer c.spool.mu.Unlock()
	return g.gone
}

// Hold notes that a chunk is about to be delivered, so that it is read again as it is should the process end. It reports
// false if the chunk was given up meanwhile: it was counted as dropped, and Read goes on behind it.
func (c *Cursor) Hold(chunk *Chunk) (bool, error) {
	gone := false
	err := c.save(func() {
		if gone = chunk.start.seg.gone; gone {
			c.next = c.acked
		} else {
			c.held = chunk
		}
	})
	return !gone, err
}

// Rewind has Read return the chunk that is held again, as it was: its delivery failed on this side.
func (c *Cursor) Rewind() {
	c.spool.mu.Lock()
	defer c.spool.mu.Unlock()
	c.rewind()
}

// rewind is called with the lock held.
func (c *Cursor) rewind() {
	if c.held != nil {
		c.resume = resume{last: c.held.end.seq, bytes: int64(c.held.Bytes())}
		if c.held.start.seg.gone { // its lines were spared when the others were counted
			c.resume = resume{}
			c.drops.Evicted += c.held.end.line - c.held.start.line
		}
	}
	c.next, c.held = c.acked, nil
}

// Commit notes that the lines of a chunk were delivered, or put aside by the reader (dead), or lost by it: what is left of
// the chunk's lines is counted as dropped.
func (c *Cursor) Commit(chunk *Chunk, delivered, dead uint64) error {
	done := false
	err := c.save(func() {
		c.held = nil
		c.acked = chunk.end
		c.delivered += delivered
		c.dead += dead
		c.drops.Damaged += chunk.Damaged
		done = chunk.end.off >= chunk.end.seg.end && chunk.end.seg != c.spool.active()
	})
	if done {
		c.spool.poke()
	}
	return err
}

// Revive notes that lines that were put aside were delivered after all. It may be called from any goroutine.
func (c *Cursor) Revive(n uint64) error {
	return c.save(func() {
		n = min(n, c.dead)
		c.dead -= n
		c.delivered += n
	})
}

// save makes a change with the spool's lock held, and writes what the file keeps.
func (c *Cursor) save(change func()) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.spool.mu.Lock()
	if c.spool.closed {
		c.spool.mu.Unlock()
		return ErrClosed
	}
	change()
	st := state{Acked: c.acked.seq, Origin: c.origin, Delivered: c.delivered, Dead: c.dead}
	if c.held != nil {
		st.HeldLast, st.HeldBytes = c.held.end.seq, c.held.Bytes()
	}
	c.spool.mu.Unlock()
	return c.file.write(st)
}

// Tail returns lines that the spool still holds, delivered or not, with numbers above after, the oldest first and at most n.
// The numbers of different epochs are ordered as the lines are.
func (s *Spool) Tail(after uint64, n int) ([]Line, error) {
	s.mu.Lock()
	type part struct {
		path string
		ext  extent
		from uint64
	}
	var parts []part
	for _, g := range s.segs {
		if g.lastSeq > after && g.count > 0 {
			parts = append(parts, part{g.path, extent{end: g.end, last: g.lastSeq}, g.firstSeq})
		}
	}
	s.mu.Unlock()
	var lines []Line
	for _, p := range parts {
		if len(lines) == n {
			break
		}
		file, err := os.Open(p.path)
		if errors.Is(err, os.ErrNotExist) {
			continue // given up meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("opening a segment: %w", err)
		}
		lines, err = tail(lines, file, p.from-1, p.ext, after, n)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func tail(lines []Line, src io.ReaderAt, last uint64, to extent, after uint64, n int) ([]Line, error) {
	w := walker{src: src, off: segmentHeader, end: to.end, last: last, limit: to.last}
	for len(lines) < n {
		rec, ok, err := w.next()
		if err != nil || !ok {
			return lines, err
		}
		if rec.seq > after {
			data := append([]byte(nil), rec.data...)
			lines = append(lines, Line{Seq: rec.seq, Time: time.Unix(0, rec.time).UTC(), Data: data})
		}
	}
	return lines, nil
}
