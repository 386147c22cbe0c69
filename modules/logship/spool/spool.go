// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package spool keeps lines on the local disk until they have been delivered. Adding one costs a copy into a file that is
// mapped into memory, where it outlives the process, and never waits for the disk.
//
//	record.go, walker.go  what a line is on the disk, and how lines are found again
//	segment.go            one file of lines
//	spool.go, roll.go     adding lines
//	recover.go            what is found when a spool is opened
//	cursor.go, read.go    reading lines, and remembering how far
//	keeper.go             what goes on in the background
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Full says what becomes of a line for which there is no room.
type Full int

// Values of Full.
const (
	// DropOldest makes room by giving up the oldest segment, delivered or not.
	DropOldest Full = iota
	// DropNewest drops the line.
	DropNewest
	// Block waits for room, for Options.BlockFor at most, and drops the line then.
	Block
)

// Limits of Options.
const (
	// MinSegment and MaxSegment bound the size of a segment, in bytes.
	MinSegment = 64 << 10
	// MaxSegment is the upper bound; a segment that is read again after damage is held in memory.
	MaxSegment = 64 << 20
	// MinSegments is how many segments MaxSize must have room for.
	MinSegments = 4
)

// Options say how a spool keeps lines. They may be changed while it is in use.
type Options struct {
	// Segment is the size of a segment in bytes.
	Segment int64
	// MaxSize bounds the bytes of all segments; there may be one segment more.
	MaxSize int64
	// MaxAge drops segments whose last line is older; zero keeps them.
	MaxAge time.Duration
	// Full is what happens when MaxSize is reached or the disk is full.
	Full Full
	// BlockFor is how long Block waits.
	BlockFor time.Duration
	// Sync is how often lines and cursors are written through to the disk, against the loss of power.
	Sync time.Duration
	// Unmapped writes each line by a system call instead of into memory.
	Unmapped bool
}

// Errors of a spool.
var (
	// ErrLocked says that another process uses the directory.
	ErrLocked = errors.New("the spool is in use by another process")
	// ErrClosed says that the spool was closed.
	ErrClosed = errors.New("the spool is closed")
	// ErrDropped says that a line was dropped, and counted.
	ErrDropped = errors.New("the line was dropped")
)

// Drops count lines that were dropped, by reason.
type Drops struct {
	// Full were dropped because there was no room, Evicted to make room.
	Full, Evicted uint64
	// Expired were older than MaxAge.
	Expired uint64
	// Disk could not be stored, Damaged could not be read again.
	Disk, Damaged uint64
	// TooLong did not fit into a segment.
	TooLong uint64
}

// Spool is one directory of segments. It is safe for concurrent use.
type Spool struct {
	dir   string
	lock  *os.File
	epoch uint64

	mu       sync.Mutex // guards what follows, and the segments
	options  Options
	closed   bool
	segs     []*segment // oldest first; the last one is being added to
	next     *segment   // stands ready, if not nil
	nums     uint64     // of segments that were made in this epoch
	size     int64      // of the files of segs and next
	trash    []*segment // are to be deleted
	unsealed []*segment // are to be sealed, or closed if they are in the trash
	tidying  bool       // the keeper makes the next segment, and empties the trash
	lastSeq  uint64
	lines    uint64 // that segments have held, see segment.lineBase
	bytes    uint64
	drops    Drops // of lines that were never stored, and so count for every cursor
	cursors  map[string]*Cursor
	freed    chan struct{} // closed, and replaced, when there is room again; nil while nobody waits
	broken   error         // why no segment can be made; nil when one could
	scratch  bytes.Buffer  // of segments that are not mapped

	wakeLine uint64 // a reader waits for lines to come to this number, or bytes to the next
	wakeByte uint64

	mapping sync.Mutex // held while a mapping's pages are made present, and while it is taken away; taken before mu

	unsynced error // of the last writing through to the disk

	tidied  *sync.Cond    // tells of the end of tidying; its lock is mu
	kick    chan struct{} // of capacity 1: the keeper has something to do
	rolled  chan struct{} // of capacity 1: a segment is to be sealed
	stop    chan struct{}
	running sync.WaitGroup
}

// Dir is the spool's directory.
func (s *Spool) Dir() string { return s.dir }

// Epoch tells this opening of the spool from earlier and later ones. It rises.
func (s *Spool) Epoch() uint64 { return s.epoch }

// Configure changes the options. Segments that exist keep their size.
func (s *Spool) Configure(options Options) {
	s.mu.Lock()
	s.options = options
	s.mu.Unlock()
	s.poke()
}

// Append adds a line, which it copies. It returns ErrDropped if there is no room for it by the options, and waits only if
// they say Block. It allocates nothing.
func (s *Spool) Append(line []byte) error {
	return s.AppendAt(line, time.Now())
}

// AppendAt adds a line that was written at that time.
func (s *Spool) AppendAt(line []byte, at time.Time) error {
	sum := crc32.Checksum(line, castagnoli) // before the lock: it is most of the work
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if !s.room(len(line)) {
		if err := s.lackRoom(len(line)); err != nil {
			return err
		}
	}
	err := s.active().add(line, sum, s.lastSeq+1, at.UnixNano(), &s.scratch)
	if err != nil {
		if !s.replace(err) || s.active().add(line, sum, s.lastSeq+1, at.UnixNano(), &s.scratch) != nil {
			return s.drop(&s.drops.Disk)
		}
	}
	s.lastSeq++
	s.lines++
	s.bytes += uint64(recordSize(len(line)))
	if g := s.active(); g.end >= g.wake {
		g.wake = math.MaxInt64
		s.poke()
	}
	if s.lines >= s.wakeLine || s.bytes >= s.wakeByte {
		s.wakeReaders()
	}
	return nil
}

func (s *Spool) active() *segment { return s.segs[len(s.segs)-1] }

// drop counts a line that is not stored. It has a number all the same, so that a gap tells of it where lines arrive.
func (s *Spool) drop(reason *uint64) error {
	s.lastSeq++
	*reason++
	return ErrDropped
}

// Skip counts lines that were dropped before they came here.
func (s *Spool) Skip(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSeq += n
}

// lackRoom does with a line for which there is no room what the options say. It returns nil if there is room after all.
func (s *Spool) lackRoom(n int) error {
	switch {
	case s.closed:
		return ErrClosed
	case segmentHeader+recordSize(n) > s.segmentSize():
		return s.drop(&s.drops.TooLong)
	case s.options.Full == Block:
		return s.waitForRoom(n)
	}
	return s.drop(s.lack())
}

// lack is the reason why there is no room.
func (s *Spool) lack() *uint64 {
	if s.broken != nil {
		return &s.drops.Disk
	}
	return &s.drops.Full
}

// waitForRoom waits until there is room for a line, or the options' time is over. It gives up the lock meanwhile.
func (s *Spool) waitForRoom(n int) error {
	timer := time.NewTimer(s.options.BlockFor)
	defer timer.Stop()
	for late := false; ; {
		if s.freed == nil {
			s.freed = make(chan struct{})
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-s.stop:
		case <-timer.C:
			late = true
		}
		s.mu.Lock()
		switch {
		case s.closed:
			return ErrClosed
		case s.room(n):
			return nil
		case late:
			return s.drop(s.lack())
		}
	}
}

// Status is what a spool holds.
type Status struct {
	// Size is the bytes that its files take.
	Size int64
	// Segments is the number of files.
	Segments int
	// Accepted is the number of the last line: how many there were since the directory was made, dropped ones included.
	Accepted uint64
	// Mapped tells whether lines are copied into memory; else each costs a system call.
	Mapped bool
	// Broken is why lines cannot be stored at the moment; nil when they can.
	Broken error
	// Unsynced is why lines could not be written through to the disk last; nil when they were.
	Unsynced error
}

// Status returns what the spool holds.
func (s *Spool) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.size
	for _, g := range s.trash {
		size += g.size
	}
	return Status{
		Size: size, Segments: len(s.segs), Accepted: s.lastSeq,
		Mapped: len(s.segs) > 0 && s.active().mapping != nil, Broken: s.broken, Unsynced: s.unsynced,
	}
}

// Close writes everything through to the disk and lets another process have the directory.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.running.Wait()

	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	s.active().lastSeq = s.lastSeq // also of lines that were dropped behind its last record
	for _, g := range append(s.unsealed, s.active()) {
		file := g.detach()
		errs = append(errs, file.unmap(), g.finish(file))
	}
	if s.next != nil {
		errs = append(errs, s.next.detach().discard(), os.Remove(s.next.path))
	}
	s.trash = deleted(s.trash)
	for _, c := range s.cursors {
		errs = append(errs, c.file.Close())
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// take locks the directory.
func take(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the spool's directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the spool's lock: %w", err)
	}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
