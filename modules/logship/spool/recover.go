// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Found is what Open found in the directory.
type Found struct {
	// Lines that were read by no cursor yet, or not by all.
	Lines uint64
	// Bytes of damage that were skipped in segments that no process had sealed.
	Damaged int64
	// Unreadable segments were left aside, and stay on the disk.
	Unreadable []string
}

// Open opens a directory, making it if need be, and keeps lines for the cursors of these names. Damage is skipped and
// counted; it never keeps a spool from being opened, and neither does a full disk. ErrLocked is returned if another process
// has the directory.
func Open(dir string, options Options, cursors ...string) (*Spool, Found, error) {
	lock, err := take(dir)
	if err != nil {
		return nil, Found{}, err
	}
	s := &Spool{
		dir: dir, lock: lock, options: options, cursors: map[string]*Cursor{},
		wakeLine: math.MaxUint64, wakeByte: math.MaxUint64,
		kick: make(chan struct{}, 1), rolled: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	s.tidied = sync.NewCond(&s.mu)
	found, err := s.recover()
	if err == nil {
		err = s.begin(cursors)
	}
	if err != nil {
		return nil, found, errors.Join(err, s.abandon())
	}
	s.running.Go(s.keep)
	s.running.Go(s.sync)
	return s, found, nil
}

// abandon closes what a failed Open has opened.
func (s *Spool) abandon() error {
	errs := []error{s.lock.Close()}
	for _, c := range s.cursors {
		errs = append(errs, c.file.Close())
	}
	for _, g := range s.segs {
		if g.file != nil {
			errs = append(errs, g.detach().discard())
		}
	}
	return errors.Join(errs...)
}

// recover finds the segments of earlier processes.
func (s *Spool) recover() (Found, error) {
	var found Found
	entries, err := os.ReadDir(s.dir) // sorted by name, and so in the order of the lines
	if err != nil {
		return found, fmt.Errorf("reading the spool's directory: %w", err)
	}
	for _, entry := range entries {
		epoch, num, ok := parseName(entry.Name())
		if !ok {
			continue
		}
		s.epoch = max(s.epoch, epoch)
		g := &segment{epoch: epoch, num: num, path: filepath.Join(s.dir, entry.Name()), firstSeq: s.lastSeq + 1, lastSeq: s.lastSeq}
		damaged, err := g.recover(s.lastSeq)
		switch {
		case err != nil:
			found.Unreadable = append(found.Unreadable, g.path)
			continue
		case g.count == 0 && g.lastSeq <= s.lastSeq: // was made ready, and never used
			if err := os.Remove(g.path); err != nil {
				found.Unreadable = append(found.Unreadable, g.path)
			}
			continue
		}
		found.Damaged += damaged
		g.lineBase, g.byteBase = s.lines, s.bytes
		s.segs = append(s.segs, g)
		s.size += g.size
		s.lastSeq = max(s.lastSeq, g.lastSeq)
		s.lines += g.count
		s.bytes += uint64(g.end - segmentHeader)
	}
	found.Lines = s.lines
	return found, nil
}

// recover reads a segment's header, and all of it if no process had the time to seal it. after is the number of the last
// line of the segment before.
func (g *segment) recover(after uint64) (damaged int64, err error) {
	file, err := os.OpenFile(g.path, os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("opening a segment: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("opening a segment: %w", err)
	}
	g.size, g.end = info.Size(), segmentHeader
	header := make([]byte, segmentHeader)
	if _, err := file.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading a segment's header: %w", err)
	}
	headed, sealed := g.readHeader(header)
	if sealed && g.firstSeq > after {
		return 0, nil
	}
	if !headed || g.firstSeq <= after {
		g.firstSeq = after + 1
	}
	g.lastSeq = g.firstSeq - 1
	if damaged, err = g.scan(file); err != nil || g.count == 0 {
		return damaged, err
	}
	// Sealed now, it need not be read again; if that fails, it will be. A damaged header must not hide it.
	if err := file.Truncate(g.end); err == nil {
		g.size = g.end
		_, _ = file.WriteAt(append(g.head(), g.seal()...), 0)
	}
	return damaged, nil
}

// scan counts the records.
func (g *segment) scan(file *os.File) (damaged int64, err error) {
	w := walker{src: file, off: segmentHeader, end: g.size, last: g.lastSeq, limit: above(g.lastSeq, g.size)}
	for {
		rec, ok, err := w.next()
		if err != nil {
			return damaged, err
		}
		if !ok {
			return damaged, nil
		}
		damaged += w.damage
		if g.count == 0 {
			g.firstTime = rec.time
		}
		g.count++
		g.end, g.lastSeq, g.lastTime = w.off, rec.seq, rec.time
	}
}

// begin starts this process' own epoch, with its first segment, and places the cursors.
func (s *Spool) begin(active []string) error {
	s.epoch = nextEpoch(s.epoch)
	names, err := filepath.Glob(filepath.Join(s.dir, "*.cursor"))
	if err != nil {
		return fmt.Errorf("BUG: reading the spool's directory: %w", err)
	}
	slices.Sort(names)
	for _, path := range names { // the disk may have lost lines that a cursor has passed: their numbers are taken
		file, st, err := openCursorFile(s.dir, strings.TrimSuffix(filepath.Base(path), ".cursor"))
		if file != nil {
			err = errors.Join(ignore(err, errNoCursor), file.Close())
		}
		if err != nil {
			return err
		}
		s.lastSeq = max(s.lastSeq, st.Acked, st.HeldLast)
	}
	if err := s.first(); err != nil {
		return err
	}
	for _, path := range names {
		if _, err := s.newCursor(strings.TrimSuffix(filepath.Base(path), ".cursor")); err != nil {
			return err
		}
	}
	for _, name := range active {
		if _, err := s.Cursor(name); err != nil {
			return err
		}
	}
	return nil
}

// epochs is the highest epoch of this process. No two of its spools have the same: a line is told from others by its node,
// epoch and number, and spools that are opened together would have the same time.
var epochs atomic.Uint64

// nextEpoch returns an epoch above those of the spool, and of all other spools of the process.
func nextEpoch(after uint64) uint64 {
	for {
		last := epochs.Load()
		next := max(after+1, last+1, uint64(max(time.Now().UnixMilli(), 1)))
		if epochs.CompareAndSwap(last, next) {
			return next
		}
	}
}

// first makes the first segment of this epoch. If it cannot be made there is one without room in its place, so that what the
// spool holds can be delivered.
func (s *Spool) first() error {
	g, err := s.create()
	if err != nil {
		s.broken = err
		g = &segment{epoch: s.epoch, capacity: segmentHeader, end: segmentHeader, synced: segmentHeader}
		g.firstSeq, g.lastSeq = s.lastSeq+1, s.lastSeq
	}
	s.size += g.size
	g.lineBase, g.byteBase = s.lines, s.bytes
	s.segs = append(s.segs, g)
	if g.file == nil {
		return nil
	}
	return g.begin(s.lastSeq + 1)
}

func ignore(err, ignored error) error {
	if errors.Is(err, ignored) {
		return nil
	}
	return err
}
