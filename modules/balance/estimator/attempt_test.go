// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAttemptStates(t *testing.T) {
	for _, test := range []struct {
		name                     string
		measure                  Measure
		steps                    func(a *Attempt)
		answered, failed, cancel uint64
		inFlight, waiting, open  int64
	}{
		{"under way", ToHeaders, func(*Attempt) {}, 0, 0, 0, 1, 1, 1},
		{"headers", ToHeaders, func(a *Attempt) { a.Headers(2*sec, false) }, 1, 0, 0, 1, 0, 1},
		{"headers, to the end", ToEnd, func(a *Attempt) { a.Headers(2*sec, false) }, 0, 0, 0, 1, 0, 1},
		{"headers twice", ToHeaders, func(a *Attempt) { a.Headers(2*sec, false); a.Headers(3*sec, true) }, 1, 0, 0, 1, 0, 1},
		{"done", ToHeaders, func(a *Attempt) { a.Headers(2*sec, false); a.Done(3*sec, Answered) }, 1, 0, 0, 0, 0, 0},
		{"done, to the end", ToEnd, func(a *Attempt) { a.Headers(2*sec, false); a.Done(3*sec, Answered) }, 1, 0, 0, 0, 0, 0},
		{"done twice", ToHeaders, func(a *Attempt) { a.Done(2*sec, Failed); a.Done(3*sec, Failed) }, 0, 1, 0, 0, 0, 0},
		{"status 500", ToHeaders, func(a *Attempt) { a.Headers(2*sec, true); a.Done(3*sec, Answered) }, 0, 1, 0, 0, 0, 0},
		{"status 500, to the end", ToEnd, func(a *Attempt) { a.Headers(2*sec, true); a.Done(3*sec, Answered) }, 0, 1, 0, 0, 0, 0},
		{"body broke", ToHeaders, func(a *Attempt) { a.Headers(2*sec, false); a.Done(3*sec, Failed) }, 1, 1, 0, 0, 0, 0},
		{"refused", ToHeaders, func(a *Attempt) { a.Done(2*sec, Failed) }, 0, 1, 0, 0, 0, 0},
		{"cancelled", ToHeaders, func(a *Attempt) { a.Done(2*sec, Canceled) }, 0, 0, 1, 0, 0, 0},
		{"cancelled in the body", ToHeaders, func(a *Attempt) { a.Headers(2*sec, false); a.Done(3*sec, Canceled) }, 1, 0, 0, 0, 0, 0},
		{"stream", ToHeaders, func(a *Attempt) { a.Headers(2*sec, false); a.Detach(); a.Detach() }, 1, 0, 0, 0, 0, 1},
		{"stream ends", ToEnd, func(a *Attempt) { a.Headers(2*sec, false); a.Detach(); a.Done(99*sec, Failed) }, 0, 0, 0, 0, 0, 0},
		{"headers after done", ToHeaders, func(a *Attempt) { a.Done(2*sec, Canceled); a.Headers(3*sec, false) }, 0, 0, 1, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := New(Params{Measure: test.measure})
			var a Attempt
			u.Begin(&a, sec)
			test.steps(&a)
			s := u.Snapshot(4 * sec)
			if s.Answered != test.answered || s.Failed != test.failed || s.Canceled != test.cancel {
				t.Errorf("answered %d, failed %d, canceled %d", s.Answered, s.Failed, s.Canceled)
			}
			if s.InFlight != test.inFlight || s.Waiting != test.waiting || s.Open != test.open {
				t.Errorf("in flight %d, waiting %d, open %d", s.InFlight, s.Waiting, s.Open)
			}
		})
	}
}

// TestParallel uses everything at once; the race detector watches, and nothing may be left in flight.
func TestParallel(t *testing.T) {
	const workers, requests = 8, 1000
	candidates := make([]Candidate, 5)
	for i := range candidates {
		candidates[i].Upstream = New(Params{ProbeFirst: time.Millisecond})
	}
	c := NewChooser(Params{ProbeFirst: time.Millisecond}, LeastResponseTime, nil)
	var clock atomic.Int64
	clock.Store(sec)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			admit := make([]bool, len(candidates))
			for i := range requests {
				choice := c.Choose(clock.Add(ms/10), candidates, Request{Copyable: i%2 == 0})
				c.Admit(clock.Load(), candidates, Request{}, admit)
				use(candidates[choice.To].Upstream, &clock, w+i)
				if choice.Copy != None {
					use(candidates[choice.Copy].Upstream, &clock, i)
				}
				if i%50 == 0 {
					candidates[i%5].Upstream.Snapshot(clock.Load())
				}
			}
		})
	}
	wg.Wait()
	for i := range candidates {
		s := candidates[i].Upstream.Snapshot(clock.Load())
		if s.InFlight != 0 || s.Waiting != 0 || s.Open != 0 {
			t.Errorf("upstream %d: %+v is left", i, s)
		}
	}
}

// use is one attempt; every kind of end occurs.
func use(u *Upstream, clock *atomic.Int64, kind int) {
	var a Attempt
	u.Begin(&a, clock.Add(ms/10))
	if kind%7 == 0 {
		a.Done(clock.Add(ms), Failed)
		return
	}
	if kind%11 == 0 {
		a.Done(clock.Add(ms), Canceled)
	}
	a.Headers(clock.Add(ms), kind%13 == 0)
	if kind%17 == 0 {
		a.Detach()
	}
	a.Received(clock.Load(), 1000)
	a.Done(clock.Add(ms), Answered)
}

// A clock may stand still for the time of an answer; the admin API writes no NaN.
func TestInstantAnswers(t *testing.T) {
	b := newBench(t, 2, Params{}, LeastResponseTime)
	b.warm(100, 0)
	for i := range b.candidates {
		s := b.upstream(i).Snapshot(b.now)
		if !(s.Expected > 0 && s.Typical > 0 && s.Idle > 0 && s.Expected < 1) {
			t.Errorf("upstream %d: %+v", i, s)
		}
	}
}
