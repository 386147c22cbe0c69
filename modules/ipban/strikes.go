// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"math/rand/v2"
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
	base    time.Time // of the first strike: times are counted from it, as a machine's clock may be set back
	of      map[suspect]*record
	records []*record // the same in no order, to sample from: a map's iteration visits neighbours, which deletions thin out
	held    int       // strikes, of all records together
	evicted int       // strikes that counted and were dropped for want of room, since the process began
}

// suspect is a client under a rule.
type suspect struct {
	rule   string // policy and rule: a policy whose rule changes begins anew
	client netip.Prefix
}

// record is the times of a suspect's strikes, the oldest first.
type record struct {
	who   suspect
	at    int     // where it stands in records
	times []int64 // in nanoseconds since strikes.base
	in    int64   // how long each counts, in nanoseconds
}

// sampled is how many records are looked at to find one to drop.
const sampled = 8

// strike counts one strike, and reports whether it is the one that makes after of them within in. The client's count then
// begins anew.
func (s *strikes) strike(who suspect, now time.Time, after int, in time.Duration, limit int) (enough bool) {
	if after == 1 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := s.of[who]
	if rec == nil {
		rec = s.add(who, in)
	}
	s.expire(rec, now)
	if len(rec.times)+1 >= after {
		s.drop(rec)
		return true
	}
	if s.held >= limit {
		s.evict(now, rec)
	}
	rec.times = append(rec.times, int64(now.Sub(s.base)))
	s.held++
	return false
}

// add begins to count for a suspect. The caller holds mu.
func (s *strikes) add(who suspect, in time.Duration) *record {
	if s.of == nil {
		s.of, s.base = map[suspect]*record{}, time.Now()
	}
	rec := &record{who: who, at: len(s.records), in: int64(in)}
	s.of[who], s.records = rec, append(s.records, rec)
	return rec
}

// expire drops the strikes of a record that do not count any more. The caller holds mu.
func (s *strikes) expire(rec *record, now time.Time) {
	oldest := int64(now.Sub(s.base)) - rec.in
	n, _ := slices.BinarySearch(rec.times, oldest+1)
	rec.times = slices.Delete(rec.times, 0, n)
	s.held -= n
}

// drop forgets a suspect. The caller holds mu.
func (s *strikes) drop(rec *record) {
	s.held -= len(rec.times)
	rec.times = nil
	last := s.records[len(s.records)-1]
	s.records[rec.at], last.at = last, rec.at
	s.records[len(s.records)-1] = nil
	s.records = s.records[:len(s.records)-1]
	delete(s.of, rec.who)
}

// evict makes room: of a sample it drops the records whose strikes have all expired or, if there is none, the one with the
// fewest. The record that room is made for stays, and loses its own strikes if there is no other. The caller holds mu.
func (s *strikes) evict(now time.Time, spare *record) {
	var fewest *record
	before := s.held
	for range sampled {
		rec := s.records[rand.N(len(s.records))]
		if rec == spare {
			continue
		}
		s.expire(rec, now)
		switch {
		case len(rec.times) == 0:
			s.drop(rec)
		case fewest == nil || len(rec.times) < len(fewest.times):
			fewest = rec
		}
	}
	switch {
	case s.held < before:
	case fewest != nil:
		s.evicted += len(fewest.times)
		s.drop(fewest)
	default:
		s.evicted += len(spare.times)
		s.held -= len(spare.times)
		spare.times = nil
	}
}

// sweep drops what does not count any more.
func (s *strikes) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.records) - 1; i >= 0; i-- { // backwards, as the last record takes the place of one that is dropped
		if s.expire(s.records[i], now); len(s.records[i].times) == 0 {
			s.drop(s.records[i])
		}
	}
}

// size returns how many strikes are held, and how many were dropped for want of room.
func (s *strikes) size() (held, evicted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held, s.evicted
}
