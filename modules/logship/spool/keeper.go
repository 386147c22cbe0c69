// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/processors"
)

// retry is how often the keeper looks after a spool that nobody has poked: for old lines, and a disk that works again.
const retry = time.Second

// minSync is the least time between two writings through to the disk.
const minSync = 10 * time.Millisecond

// poke has the keeper look at once.
func (s *Spool) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// keep has the next segment ready and deletes those that are done with, until the spool is closed.
func (s *Spool) keep() {
	ticker := time.NewTicker(retry)
	defer ticker.Stop()
	for {
		s.prepare()
		s.tidy()
		select {
		case <-s.stop:
			return
		case <-s.kick:
		case <-ticker.C:
			s.mu.Lock()
			s.broken = nil // try again
			s.mu.Unlock()
		}
	}
}

// prepare has those pages of the active segment present that are used next. Not all of them at once: they count as memory of
// the process; those that were used are given back for the same reason. If that fails, they come one by one as they are used.
func (s *Spool) prepare() {
	s.mapping.Lock()
	defer s.mapping.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.active()
	for g.mapping != nil && g.present < g.capacity && g.end >= g.present-step {
		memory, used, from, to := g.mapping, g.end, g.present, min(g.present+step, g.capacity)
		s.mu.Unlock()
		_ = populate(memory[from:to])
		_ = forget(memory, used) // else the syncer does
		s.mu.Lock()
		g.present = to
	}
	g.wake = g.nextWake()
}

// tidy does one round of the keeper's work. What needs the disk is done without the lock; a line that cannot do without a
// new segment waits for it.
func (s *Spool) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.MaxAge > 0 {
		s.expire(time.Now().Add(-s.options.MaxAge).UnixNano())
	}
	wanted := s.makeRoom() && s.wantsNext()
	if !wanted && len(s.trash) == 0 {
		return
	}
	s.nums++
	trash, epoch, num, size, mapped := s.trash, s.epoch, s.nums, s.segmentSize(), !s.options.Unmapped
	s.tidying = true
	s.mu.Unlock()

	trash = deleted(trash)
	var g *segment
	var err error
	if wanted {
		g, err = createSegment(s.dir, epoch, num, size, mapped)
	}

	s.mu.Lock()
	s.tidying = false
	s.tidied.Broadcast()
	s.trash = trash
	switch {
	case g != nil:
		s.install(g)
	case err != nil:
		s.broken = err
		if diskFull(err) && s.options.Full == DropOldest && s.evict() {
			s.broken = nil // there may be room when the trash is gone
			s.poke()
		}
	}
}

// sync writes lines and cursors through to the disk and seals segments, until the spool is closed.
func (s *Spool) sync() {
	for {
		s.mu.Lock()
		pause := max(s.options.Sync, minSync)
		s.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-s.stop:
			timer.Stop()
			return
		case <-timer.C:
		case <-s.rolled:
			timer.Stop()
		}
		s.noteSync(errors.Join(s.sealAll(), s.flush(), s.flushCursors()))
	}
}

// noteSync keeps the error of writing through for Status.
func (s *Spool) noteSync(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsynced = err
}

// sealAll finishes the segments that are full.
func (s *Spool) sealAll() error {
	s.mu.Lock()
	todo := s.unsealed
	s.unsealed = nil
	s.mu.Unlock()
	var errs []error
	for _, g := range todo {
		s.mapping.Lock()
		s.mu.Lock()
		gone, file := g.gone, g.detach()
		s.mu.Unlock()
		errs = append(errs, file.unmap())
		s.mapping.Unlock()
		if gone {
			errs = append(errs, file.discard())
			continue
		}
		errs = append(errs, g.finish(file))
		s.mu.Lock()
		if !g.gone {
			s.size -= g.size - g.end
		}
		g.size = g.end
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// flush writes the active segment's new records through to the disk.
func (s *Spool) flush() error {
	s.mu.Lock()
	g := s.active()
	file, memory, from, to := g.file, g.mapping, g.synced, g.end
	s.mu.Unlock()
	if from == to {
		return nil
	}
	err := processors.Blocking(func() error {
		if memory == nil {
			return file.Sync()
		}
		return flush(memory, from, to)
	})
	if err == nil {
		g.synced = to
		err = forget(memory, to)
	}
	return err
}

func (s *Spool) flushCursors() error {
	s.mu.Lock()
	var files []*cursorFile
	for _, c := range s.cursors {
		files = append(files, c.file)
	}
	s.mu.Unlock()
	var errs []error
	for _, f := range files {
		errs = append(errs, f.sync())
	}
	return errors.Join(errs...)
}
