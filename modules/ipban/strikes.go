// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// strikes counts what clients did wrong, each client by each rule, in this process. Memory is bounded by the number of
// strikes that are held; where there is no room, those go first that do not count any more, then a client with few. A flood
// of clients with a strike each thus pushes out its own.
type strikes struct {
	mu      sync.Mutex
	of      map[suspect]*record
	held    int // strikes, of all records together
	evicted int // strikes that counted and were dropped for want of room, since the process began
}

// suspect is a client under a rule.
type suspect struct {
	rule   string // policy and rule: a policy whose rule changes begins anew
	client netip.Prefix
}

// record is the times of a suspect's strikes, the oldest first.
type record struct {
	times []int64 // Unix time in nanoseconds
	in    int64   // how long each counts, in nanoseconds
}

// sampled is how many records are looked at to find one to drop.
const sampled = 8

// strike counts one strike, and reports whether it is the one that makes after of them within in. The client's count then
// begins anew.
func (s *strikes) strike(who suspect, now time.Time, after int, in time.Duration, limit int) (enough bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[suspect]*record{}
	}
	rec := s.of[who]
	if rec == nil {
		rec = &record{in: int64(in)}
	}
	s.expire(rec, now)
	if len(rec.times)+1 >= after {
		s.drop(who, rec)
		return true
	}
	if s.held >= limit {
		s.evict(now, who)
	}
	rec.times = append(rec.times, now.UnixNano())
	s.of[who] = rec
	s.held++
	return false
}

// expire drops the strikes of a record that do not count any more. The caller holds mu.
func (s *strikes) expire(rec *record, now time.Time) {
	oldest := now.UnixNano() - rec.in
	n, _ := slices.BinarySearch(rec.times, oldest+1)
	rec.times = slices.Delete(rec.times, 0, n)
	s.held -= n
}

// drop forgets a suspect. The caller holds mu.
func (s *strikes) drop(who suspect, rec *record) {
	s.held -= len(rec.times)
	rec.times = nil
	delete(s.of, who)
}

// evict makes room: it drops the records of a sample whose strikes have all expired, or else the one with the fewest. It
// spares the suspect that room is made for, if there is another. The caller holds mu.
func (s *strikes) evict(now time.Time, spare suspect) {
	var least suspect
	var fewest *record
	looked, before := 0, s.held
	for who, rec := range s.of { // begins at a random place
		if looked++; looked > sampled {
			break
		}
		s.expire(rec, now)
		switch {
		case len(rec.times) == 0:
			delete(s.of, who)
		case who != spare && (fewest == nil || len(rec.times) < len(fewest.times)):
			least, fewest = who, rec
		}
	}
	if s.held == before && fewest == nil {
		least, fewest = spare, s.of[spare]
	}
	if s.held == before && fewest != nil {
		s.evicted += len(fewest.times)
		s.drop(least, fewest)
	}
}

// sweep drops what does not count any more.
func (s *strikes) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who, rec := range s.of {
		if s.expire(rec, now); len(rec.times) == 0 {
			delete(s.of, who)
		}
	}
}

// size returns how many strikes are held, and how many were dropped for want of room.
func (s *strikes) size() (held, evicted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held, s.evicted
}
