// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"syscall"
)

// All functions of this file are called with the lock held. Those that change the trash wait until the keeper, which
// empties it without the lock, is done.

// segmentSize is the size of the next segment: less than configured where MaxSize would not hold enough of them.
func (s *Spool) segmentSize() int64 {
	return max(min(s.options.Segment, s.options.MaxSize/MinSegments), MinSegment) &^ (alignment - 1)
}

// wantsNext reports whether the next segment is to be made: the active one is half full, or somebody waits for room. Its
// first pages are in memory then, so it is not made before.
func (s *Spool) wantsNext() bool {
	return s.next == nil && s.broken == nil && (s.freed != nil || s.active().half())
}

// room reports whether the active segment can take a line of n bytes, after beginning a new one if need be.
func (s *Spool) room(n int) bool {
	fits := func() bool { g := s.active(); return g.end+recordSize(n) <= g.capacity }
	return fits() || segmentHeader+recordSize(n) <= s.segmentSize() && s.roll() && fits()
}

// roll begins the next segment. The keeper has it ready, unless lines come faster than it can make segments.
func (s *Spool) roll() bool {
	for s.tidying && s.next == nil {
		s.tidied.Wait()
	}
	if s.closed {
		return false
	}
	if s.next == nil {
		if s.broken != nil || !s.makeRoom() {
			return false // the keeper tries again
		}
		s.trash = deleted(s.trash)
		g, err := s.create()
		if err != nil {
			s.broken = err
			s.poke()
			return false
		}
		s.install(g)
	}
	g := s.next
	if err := g.begin(s.lastSeq + 1); err != nil {
		s.broken = err
		return false
	}
	s.next = nil
	old := s.active()
	old.lastSeq = s.lastSeq // also of lines that were dropped behind its last record
	g.lineBase, g.byteBase = s.lines, s.bytes
	s.segs = append(s.segs, g)
	s.unsealed = append(s.unsealed, old)
	s.poke()
	select {
	case s.rolled <- struct{}{}:
	default:
	}
	return true
}

// create makes a segment. A full disk has the oldest one given up, if the options say so.
func (s *Spool) create() (*segment, error) {
	for {
		s.nums++
		g, err := createSegment(s.dir, s.epoch, s.nums, s.segmentSize(), !s.options.Unmapped)
		if err == nil || !diskFull(err) || s.options.Full != DropOldest || !s.evict() {
			return g, err
		}
		s.trash = deleted(s.trash)
	}
}

// diskFull tells an error that fewer files would mend from others, such as too many open files.
func diskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errQuota) }

// install makes a segment the next one.
func (s *Spool) install(g *segment) {
	s.next = g
	s.size += g.size
	s.broken = nil
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// replace begins another segment because storing into the active one failed: somebody has cut the file short, or the disk
// fails.
func (s *Spool) replace(cause error) bool {
	if s.broken != nil || !s.roll() {
		s.broken = errors.Join(s.broken, cause)
		s.poke()
		return false
	}
	return true
}

// makeRoom makes the spool small enough for one more segment, and reports whether it is. What it gave up is in the trash.
func (s *Spool) makeRoom() bool {
	s.reap()
	for s.size > s.options.MaxSize {
		if s.options.Full != DropOldest || !s.evict() {
			return false
		}
	}
	return true
}

// reap removes the segments that every cursor has left behind.
func (s *Spool) reap() {
	done, pinned := s.lines, false
	for _, c := range s.cursors {
		if c.active {
			done, pinned = min(done, c.acked.line), true
		}
	}
	if !pinned {
		return // whoever reads has not come yet
	}
	for len(s.segs) > 1 && s.segs[0].lineBase+s.segs[0].count <= done {
		s.remove()
	}
}

// evict gives up the oldest segment, and reports whether there was one to give up.
func (s *Spool) evict() bool {
	if len(s.segs) < 2 {
		return false
	}
	for _, c := range s.cursors {
		c.drops.Evicted += c.losing()
	}
	s.remove()
	return true
}

// expire gives up the segments whose last line is older than a time.
func (s *Spool) expire(before int64) {
	for len(s.segs) > 1 && s.segs[0].lastTime < before {
		for _, c := range s.cursors {
			c.drops.Expired += c.losing()
		}
		s.remove()
	}
}

// remove takes the oldest segment out. The keeper deletes the file: that takes milliseconds.
func (s *Spool) remove() {
	g := s.segs[0]
	s.segs[0] = nil
	s.segs = s.segs[1:]
	s.size -= g.size
	g.gone = true
	s.trash = append(s.trash, g)
}
