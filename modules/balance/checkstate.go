// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// maxUnusedChecks bounds how many states of checks that nobody makes an upstream keeps, for a config that will.
const maxUnusedChecks = 8

// checkState is what one check has found out about one upstream. Every running config with the same check shares it, so
// a reload begins where the last config ended, and of two configs that overlap only one checks at a time.
type checkState struct {
	verdict atomic.Uint32 // the streak's, for everybody to read

	mu        sync.Mutex // guards the rest
	check     *check     // the newest config's
	users     int        // checkers that watch the upstream
	streak    streak
	due       time.Time // of the next check
	busyUntil time.Time // somebody checks, and will be done by then
	checked   time.Time // when the last check ended
	since     time.Time // when the verdict became what it is
	problem   string    // why the last check failed; empty if it passed
	passed    uint64
	failed    uint64
	flips     uint64 // changes of the verdict, save the first one from unknown
}

// down reports whether the check found the upstream down.
func (s *checkState) down() bool { return verdict(s.verdict.Load()) == down }

// checks are an upstream's states, by the checks' keys.
type checks struct {
	mu     sync.Mutex // guards states; the states' own are taken within it
	states map[string]*checkState
}

// acquire returns the state of a check for one more user, making it if needed. A new state begins with what a like check
// of other tempo or thresholds knows.
func (c *checks) acquire(by *check, random float64) *checkState {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.states[by.key]
	if s == nil {
		s = &checkState{streak: c.inherit(by, now), since: now}
		if c.states == nil {
			c.states = map[string]*checkState{}
		}
		c.forget()
		c.states[by.key] = s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check = by
	if s.users++; s.users == 1 && (s.checked.IsZero() || now.Sub(s.checked) > by.staleAfter()) {
		s.due = now.Add(by.first(random))
		if !s.checked.IsZero() {
			s.streak, s.since, s.problem = streak{verdict: by.initial}, now, ""
		}
	}
	s.verdict.Store(uint32(s.streak.verdict))
	return s
}

// inherit returns the streak that a new state begins with. c.mu is held.
func (c *checks) inherit(by *check, now time.Time) streak {
	begin, newest := streak{verdict: by.initial}, now.Add(-by.staleAfter())
	for _, s := range c.states {
		s.mu.Lock()
		if s.check.target == by.target && s.checked.After(newest) {
			begin, newest = streak{verdict: s.streak.verdict}, s.checked
		}
		s.mu.Unlock()
	}
	return begin
}

// forget drops unused states if there are too many. c.mu is held.
func (c *checks) forget() {
	unused := func(s *checkState) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.users == 0
	}
	n := 0
	for _, s := range c.states {
		if unused(s) {
			n++
		}
	}
	if n > maxUnusedChecks {
		maps.DeleteFunc(c.states, func(_ string, s *checkState) bool { return unused(s) })
	}
}

// used returns the states that somebody watches.
func (c *checks) used() []*checkState {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*checkState
	for _, s := range c.states {
		s.mu.Lock()
		if s.users > 0 {
			all = append(all, s)
		}
		s.mu.Unlock()
	}
	return all
}

func (s *checkState) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
}

// wait is how long nobody may begin a check.
func (s *checkState) wait(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.due.Sub(now), s.busyUntil.Sub(now))
}

// claim takes the right to check now, if it is time and nobody else is at it.
func (s *checkState) claim(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due.After(now) || s.busyUntil.After(now) {
		return false
	}
	s.busyUntil = now.Add(s.check.timeout + time.Second)
	return true
}

// abandon gives the right back without a result: the config ended meanwhile, which says nothing of the upstream.
func (s *checkState) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busyUntil = time.Time{}
}

// report takes the result of a check that began at a moment, nil for passed, and returns the verdicts before and after.
func (s *checkState) report(by *check, began time.Time, problem error, random float64) (before, after verdict) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busyUntil, s.checked = time.Time{}, now
	s.due = began.Add(by.next(random))
	before = s.streak.verdict
	s.streak = s.streak.after(problem == nil, by.limits)
	after = s.streak.verdict
	if problem == nil {
		s.passed++
		s.problem = ""
	} else {
		s.failed++
		s.problem = problem.Error()
	}
	if before != after {
		s.since = now
		if before != unknown {
			s.flips++
		}
	}
	s.verdict.Store(uint32(after))
	return before, after
}

// HealthStatus is what the admin endpoint tells about one check of an upstream.
type HealthStatus struct {
	// Check is the method and the URI of the check.
	Check string `json:"check"`
	// Verdict is "up", "down" or, before the first check of an upstream that begins so, "unknown".
	Verdict string `json:"verdict"`
	// Since is when the verdict became what it is, RFC 3339.
	Since time.Time `json:"since"`
	// Checked is when the last check ended, RFC 3339; the zero time if there was none.
	Checked time.Time `json:"checked,omitzero"`
	// PassedInARow and FailedInARow are the last checks of the same kind; one of them is zero.
	PassedInARow int `json:"passed_in_a_row"`
	// FailedInARow is documented with PassedInARow.
	FailedInARow int `json:"failed_in_a_row"`
	// Problem is why the last check failed; empty if it passed.
	Problem string `json:"problem,omitempty"`
	// Flips is how often the verdict changed since the process began to check.
	Flips uint64 `json:"flips"`
}

func (s *checkState) status() HealthStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return HealthStatus{
		Check: s.check.String(), Verdict: s.streak.verdict.String(), Since: s.since, Checked: s.checked,
		PassedInARow: s.streak.passes, FailedInARow: s.streak.fails, Problem: s.problem, Flips: s.flips,
	}
}
