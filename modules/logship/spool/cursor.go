// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/processors"
)

// position is a place between two records.
type position struct {
	seg        *segment
	off        int64
	seq        uint64 // number of the record before
	line, byte uint64 // records and bytes before it, see segment.lineBase
}

// Cursor remembers how far one reader has come, also over a crash. Its methods are for one goroutine, save Progress and Revive.
type Cursor struct {
	spool *Spool
	name  string
	file  *cursorFile
	ready chan struct{} // of capacity 1: there may be enough to read
	walk  walker        // of the segment in reading
	read  *os.File      // that segment
	at    *segment
	lines []Line // of the chunk that was read last

	failures int // of the disk in a row

	saving sync.Mutex // one change is written after the other

	// The spool's lock guards what follows.
	active    bool // segments are kept for it
	origin    uint64
	acked     position // all before it is done with
	next      position // all before it was read
	held      *Chunk   // is being delivered
	resume    resume
	delivered uint64
	dead      uint64
	drops     Drops
}

// resume is the chunk that was being delivered when the process ended: it is read again as it was.
type resume struct {
	last  uint64 // number of its last line; 0 for none
	bytes int64
}

// Cursor returns the cursor of that name, which consists of letters, digits, '.', '_' and '-'. A new one begins with the
// oldest line there is. Segments are kept for it until it is released.
func (s *Spool) Cursor(name string) (*Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	c := s.cursors[name]
	if c == nil {
		var err error
		if c, err = s.newCursor(name); err != nil {
			return nil, err
		}
	}
	c.active = true
	c.rewind()
	return c, nil
}

// newCursor makes a cursor, or finds the one of an earlier process. It is called with the lock held, or before the spool
// is used.
func (s *Spool) newCursor(name string) (*Cursor, error) {
	file, st, err := openCursorFile(s.dir, name)
	if err != nil && !errors.Is(err, errNoCursor) {
		return nil, err
	}
	c := &Cursor{spool: s, name: name, file: file, ready: make(chan struct{}, 1)}
	s.cursors[name] = c
	oldest := s.segs[0]
	c.acked = position{seg: oldest, off: segmentHeader, seq: oldest.firstSeq - 1, line: oldest.lineBase, byte: oldest.byteBase}
	if errors.Is(err, errNoCursor) {
		c.origin = c.acked.seq
		// Lines count from here, also in the next process; if the disk is full, they will from its first line. Both slots
		// have their block then: lines are still delivered, and make room, when it is full later.
		start := state{Acked: c.acked.seq, Origin: c.origin}
		s.unsynced = errors.Join(c.file.write(start), c.file.write(start))
		return c, nil
	}
	c.origin, c.delivered, c.dead = st.Origin, st.Delivered, st.Dead
	if st.HeldLast > st.Acked {
		c.resume = resume{last: st.HeldLast, bytes: int64(st.HeldBytes)}
	}
	if c.acked, err = s.find(st.Acked); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return c, nil
}

// find returns the place after a line.
func (s *Spool) find(seq uint64) (position, error) {
	g := s.segs[0]
	for _, later := range s.segs[1:] {
		if later.firstSeq <= seq+1 {
			g = later
		}
	}
	p := position{seg: g, off: segmentHeader, seq: max(seq, g.firstSeq-1), line: g.lineBase, byte: g.byteBase}
	if seq < g.firstSeq || g.count == 0 {
		return p, nil
	}
	file, err := os.Open(g.path)
	if err != nil {
		return p, fmt.Errorf("finding a cursor's place: %w", err)
	}
	defer file.Close()
	w := walker{src: file, off: segmentHeader, end: g.end, last: g.firstSeq - 1, limit: g.lastSeq}
	for {
		rec, ok, err := w.next()
		if err != nil {
			return p, fmt.Errorf("finding a cursor's place: %w", err)
		}
		if !ok {
			p.off, p.line, p.byte = g.end, g.lineBase+g.count, g.byteBase+uint64(g.end-segmentHeader)
			return p, nil
		}
		if rec.seq > seq {
			return p, nil
		}
		p.off, p.line, p.byte = w.off, p.line+1, g.byteBase+uint64(w.off-segmentHeader)
	}
}

// Release lets segments go before this cursor has come by: at once, if other cursors have, and for good. Cursor takes it again. For
// a backlog to stay, the spool is closed first.
func (c *Cursor) Release() error {
	c.spool.mu.Lock()
	c.active = false
	c.spool.mu.Unlock()
	c.spool.poke()
	if c.read == nil {
		return nil
	}
	file := c.read
	c.read, c.at, c.walk = nil, nil, walker{}
	return file.Close()
}

// losing is how many lines the cursor would lose with the oldest segment, without those that are being delivered.
func (c *Cursor) losing() uint64 {
	g := c.spool.segs[0]
	from := max(c.acked.line, g.lineBase)
	if c.held != nil {
		from = max(from, c.held.end.line)
	}
	if end := g.lineBase + g.count; c.active && end > from {
		return end - from
	}
	return 0
}

// Progress is how far a cursor has come. Accepted is the sum of Delivered, Dead, Dropped and Pending.
type Progress struct {
	// Accepted lines are all that there were since the cursor was made.
	Accepted uint64
	// Delivered lines were taken by the reader, Dead ones put aside by it.
	Delivered, Dead uint64
	// Dropped lines are lost.
	Dropped uint64
	// Pending lines are still to be delivered.
	Pending uint64
	// PendingBytes is what they take in the spool.
	PendingBytes uint64
	// Oldest is when the first of them was written; zero if there is none.
	Oldest time.Time
	// Acked is the number of the last line that is done with.
	Acked uint64
	// Drops tell why lines were dropped since the spool was opened.
	Drops Drops
}

// Progress returns how far the cursor has come.
func (c *Cursor) Progress() Progress {
	s := c.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Progress{
		Accepted: s.lastSeq - c.origin, Delivered: c.delivered, Dead: c.dead,
		Acked: c.acked.seq, Drops: c.drops,
	}
	p.Drops.Full += s.drops.Full
	p.Drops.Disk += s.drops.Disk
	p.Drops.TooLong += s.drops.TooLong
	p.Pending, p.PendingBytes = c.pending(c.acked)
	p.Dropped = p.Accepted - min(p.Accepted, p.Delivered+p.Dead+p.Pending)
	if p.Pending > 0 {
		p.Oldest = c.oldest(c.acked)
	}
	return p
}

// pending is what there is after a position, and what is being delivered although its segment is gone.
func (c *Cursor) pending(after position) (lines, bytes uint64) {
	s := c.spool
	floor := s.segs[0]
	lines, bytes = s.lines-max(after.line, floor.lineBase), s.bytes-max(after.byte, floor.byteBase)
	if c.held != nil && after == c.acked {
		if end := min(c.held.end.line, floor.lineBase); end > after.line {
			lines += end - after.line
		}
		if end := min(c.held.end.byte, floor.byteBase); end > after.byte {
			bytes += end - after.byte
		}
	}
	return lines, bytes
}

// oldest is when the first line after a position was written. It may read a record's header.
func (c *Cursor) oldest(after position) time.Time {
	if c.held != nil && after == c.acked && len(c.held.Lines) > 0 {
		return c.held.Lines[0].Time
	}
	g, off := c.spool.locate(after)
	if off > segmentHeader && off < g.end {
		if at := g.timeAt(off); at >= g.firstTime && at <= g.lastTime {
			return time.Unix(0, at).UTC()
		}
	}
	return time.Unix(0, g.firstTime).UTC()
}

// Wait returns when there are so many lines or bytes to read, when the oldest of them is of that age, or when ctx ends.
func (c *Cursor) Wait(ctx context.Context, lines, bytes uint64, age time.Duration) error {
	for {
		left, enough := c.wants(lines, bytes, age)
		if enough {
			return nil
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-c.ready:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// wants reports whether there is enough to read, else how long until it is old enough; and asks to be woken.
func (c *Cursor) wants(lines, bytes uint64, age time.Duration) (time.Duration, bool) {
	s := c.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	n, b := c.pending(c.next)
	if n == 0 {
		s.wakeLine = min(s.wakeLine, s.lines+1)
		return math.MaxInt64, false
	}
	if n >= lines || b >= bytes || c.resume.last > 0 {
		return 0, true
	}
	left := age - time.Since(c.oldest(c.next))
	if left <= 0 {
		return 0, true
	}
	s.wakeLine = min(s.wakeLine, s.lines+lines-n)
	s.wakeByte = min(s.wakeByte, s.bytes+bytes-b)
	return left, false
}

// wakeReaders is called with the lock held when there is as much to read as a reader waits for.
func (s *Spool) wakeReaders() {
	s.wakeLine, s.wakeByte = math.MaxUint64, math.MaxUint64
	for _, c := range s.cursors {
		select {
		case c.ready <- struct{}{}:
		default:
		}
	}
}

// cursorFile keeps a cursor's state in two slots, which are written in turn: one of them is whole, whatever happens.
type cursorFile struct {
	*os.File
	written uint64
}

// state is what a slot holds, little-endian: magic, CRC-32C of the rest, and these numbers.
type state struct {
	Written   uint64 // how often a slot was written: the higher one is newer
	Acked     uint64
	Origin    uint64
	Delivered uint64
	Dead      uint64
	HeldLast  uint64
	HeldBytes uint64
}

const (
	slotMagic = "GHC\x01"
	slotSize  = 8 + 7*8
	slotApart = 4096 // on pages of their own
)

var errNoCursor = errors.New("no slot of the cursor is whole")

// openCursorFile opens a cursor's file and reads its newer slot; errNoCursor says that there is none.
func openCursorFile(dir, name string) (*cursorFile, state, error) {
	file, err := os.OpenFile(filepath.Join(dir, name+".cursor"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, state{}, fmt.Errorf("opening the cursor %q: %w", name, err)
	}
	f := &cursorFile{File: file}
	var newest state
	for i := range int64(2) {
		slot := make([]byte, slotSize)
		if _, err := file.ReadAt(slot, i*slotApart); err != nil {
			continue // shorter: never written
		}
		if st, ok := parseSlot(slot); ok && st.Written > newest.Written {
			newest = st
		}
	}
	f.written = newest.Written
	if newest.Written == 0 {
		return f, newest, errNoCursor
	}
	return f, newest, nil
}

func parseSlot(slot []byte) (state, bool) {
	var st state
	if string(slot[:4]) != slotMagic || binary.LittleEndian.Uint32(slot[4:]) != crc32.Checksum(slot[8:], castagnoli) {
		return st, false
	}
	for i, field := range []*uint64{
		&st.Written, &st.Acked, &st.Origin, &st.Delivered, &st.Dead, &st.HeldLast, &st.HeldBytes,
	} {
		*field = binary.LittleEndian.Uint64(slot[8+8*i:])
	}
	return st, true
}

func (f *cursorFile) write(st state) error {
	f.written++
	slot := make([]byte, slotSize)
	copy(slot, slotMagic)
	for i, v := range []uint64{f.written, st.Acked, st.Origin, st.Delivered, st.Dead, st.HeldLast, st.HeldBytes} {
		binary.LittleEndian.PutUint64(slot[8+8*i:], v)
	}
	binary.LittleEndian.PutUint32(slot[4:], crc32.Checksum(slot[8:], castagnoli))
	if _, err := f.WriteAt(slot, int64(f.written%2)*slotApart); err != nil {
		return fmt.Errorf("writing a cursor: %w", err)
	}
	return nil
}

func (f *cursorFile) sync() error {
	if err := processors.Blocking(f.Sync); err != nil {
		return fmt.Errorf("syncing a cursor: %w", err)
	}
	return nil
}
