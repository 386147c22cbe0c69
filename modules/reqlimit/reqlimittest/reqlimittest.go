// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package reqlimittest holds the tests that every implementation of reqlimit.Store must pass.
package reqlimittest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// Run tests a store. open returns a provisioned one, and cleans it up when the test ends; two of one test share their counts.
// algorithms are those that the store has.
func Run(t *testing.T, open func(t *testing.T) reqlimit.Store, algorithms ...string) {
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			tests := map[string]func(*suite){
				"limit": (*suite).limit, "cost": (*suite).cost, "look": (*suite).look, "give": (*suite).give,
				"reset": (*suite).reset, "keys": (*suite).keys, "policies": (*suite).policies, "shared": (*suite).shared,
				"at once": (*suite).atOnce, "strange keys": (*suite).strangeKeys,
			}
			if algorithm == reqlimit.Concurrency {
				tests["held"] = (*suite).held
			} else {
				tests["together"] = (*suite).together
				tests["frees"] = (*suite).frees
				tests["shapes"] = (*suite).shapes
				tests["always"] = (*suite).always
			}
			if algorithm != reqlimit.Concurrency && algorithm != reqlimit.GCRA { // whose limit is a rate, and the state a time
				tests["lower"] = (*suite).lower
			}
			for name, test := range tests {
				t.Run(name, func(t *testing.T) { test(&suite{T: t, store: open(t), algorithm: algorithm, open: open}) })
			}
		})
	}
	t.Run("unknown algorithm", func(t *testing.T) {
		if _, err := open(t).Open(reqlimit.Spec{Policy: "p", Algorithm: "wishful", Windows: 1, Limit: 1}); err == nil {
			t.Error("a store opened a policy with an algorithm that nobody has")
		}
	})
}

// suite is one test of one algorithm.
type suite struct {
	*testing.T
	store     reqlimit.Store
	open      func(t *testing.T) reqlimit.Store
	algorithm string
}

// policyCount makes each policy of a process another one, as counts outlive tests.
var policyCount atomic.Int64

// counters are a policy's counts, with what asking takes.
type counters struct {
	*suite
	reqlimit.Counters
	rule window.Rule
}

// spec is the spec of a new policy with these windows.
func (s *suite) spec(windows []window.Window) reqlimit.Spec {
	spec := reqlimit.Spec{
		Policy: fmt.Sprintf("test-%d", policyCount.Add(1)), Algorithm: s.algorithm, Windows: len(windows),
	}
	if s.algorithm == reqlimit.Sliding {
		spec.Buckets = window.DefaultBuckets
	}
	for _, w := range windows {
		spec.Limit = max(spec.Limit, w.Limit)
	}
	return spec
}

// windowOf is a window for the algorithm: GCRA gets a burst of its whole limit, concurrency no period.
func (s *suite) windowOf(limit int64, period time.Duration) window.Window {
	w := window.Window{Limit: limit, Period: period}
	switch s.algorithm {
	case reqlimit.GCRA:
		w.Burst = limit
	case reqlimit.Concurrency:
		w.Period = 0
	}
	return w
}

// policy opens a new policy with one window of an hour.
func (s *suite) policy(limit int64) *counters {
	s.Helper()
	return s.opened(s.store, s.spec, s.windowOf(limit, time.Hour))
}

func (s *suite) opened(store reqlimit.Store, spec func([]window.Window) reqlimit.Spec, windows ...window.Window) *counters {
	s.Helper()
	c, err := store.Open(spec(windows))
	if err != nil {
		s.Fatal(err)
	}
	return &counters{s, c, window.NewRule(windows...)}
}

// take asks, and fails the test on an error.
func (c *counters) take(key string, cost int64) window.Result {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	buf := []byte(key)
	result := window.Result{Violated: 99, Retry: -1}
	err := c.Take(ctx, &reqlimit.Ask{Key: buf, Rule: &c.rule, Cost: cost}, &result)
	if err != nil {
		c.Fatal(err)
	}
	clear(buf) // it is the caller's again
	if result.Allowed != (result.Violated == -1) || result.Allowed && result.Retry != 0 || !result.Allowed && result.Retry <= 0 {
		c.Errorf("the result contradicts itself: %+v", result)
	}
	return result
}

// expect takes n times one, and wants a number of them to pass.
func (c *counters) expect(key string, n, passed int) {
	c.Helper()
	got := 0
	for range n {
		if c.take(key, 1).Allowed {
			got++
		}
	}
	if got != passed {
		c.Errorf("%d of %d passed, want %d", got, n, passed)
	}
}

func (s *suite) limit() {
	c := s.policy(5)
	for i := range int64(5) {
		if r := c.take("a", 1); !r.Allowed || r.States[0].Remaining != 4-i {
			s.Fatalf("request %d of 5: %+v", i+1, r)
		}
	}
	r := c.take("a", 1)
	if r.Allowed || r.Violated != 0 || r.States[0].Remaining != 0 {
		s.Errorf("over the limit: %+v", r)
	}
	if s.algorithm != reqlimit.Concurrency && (r.Retry > 2*time.Hour || r.States[0].Reset <= 0 || r.States[0].Reset > r.Retry) {
		s.Errorf("retry %v, reset %v", r.Retry, r.States[0].Reset)
	}
}

func (s *suite) cost() {
	c := s.policy(10)
	if r := c.take("a", 7); !r.Allowed || r.States[0].Remaining != 3 {
		s.Errorf("7 of 10: %+v", r)
	}
	if r := c.take("a", 4); r.Allowed || r.States[0].Remaining != 3 {
		s.Errorf("4 of 3: %+v", r)
	}
	if r := c.take("a", 3); !r.Allowed || r.States[0].Remaining != 0 {
		s.Errorf("3 of 3: %+v", r)
	}
	if r := c.take("b", 11); r.Allowed || r.Retry != window.Never {
		s.Errorf("11 of 10 fit never: %+v", r)
	}
}

func (s *suite) look() {
	c := s.policy(3)
	for range 10 {
		if r := c.take("a", 0); !r.Allowed || r.States[0].Remaining != 3 {
			s.Fatalf("looking counts: %+v", r)
		}
	}
	c.expect("a", 2, 2)
	if r := c.take("a", 0); !r.Allowed || r.States[0].Remaining != 1 {
		s.Errorf("after two: %+v", r)
	}
}

func (s *suite) give() {
	c := s.policy(4)
	r := c.take("a", 3)
	c.expect("a", 1, 1)
	c.expect("a", 1, 0)
	if err := c.Give(s.Context(), &reqlimit.Ask{Key: []byte("a"), Rule: &c.rule, Cost: 3}, &r.Receipt); err != nil {
		s.Fatal(err)
	}
	c.expect("a", 4, 3)
	if err := c.Give(s.Context(), &reqlimit.Ask{Key: []byte("nobody"), Rule: &c.rule, Cost: 3}, &r.Receipt); err != nil {
		s.Fatal(err)
	}
	c.expect("nobody", 5, 4)
}

func (s *suite) reset() {
	c := s.policy(2)
	c.expect("a", 3, 2)
	c.expect("b", 3, 2)
	if err := c.Reset(s.Context(), &reqlimit.Ask{Key: []byte("a"), Rule: &c.rule}); err != nil {
		s.Fatal(err)
	}
	c.expect("a", 3, 2)
	c.expect("b", 1, 0)
	if err := c.Reset(s.Context(), &reqlimit.Ask{Key: []byte("nobody"), Rule: &c.rule}); err != nil {
		s.Error(err)
	}
}

func (s *suite) keys() {
	c := s.policy(1)
	for i := range 200 {
		c.expect(fmt.Sprint(i), 2, 1)
	}
}

func (s *suite) policies() {
	a, b := s.policy(2), s.policy(2)
	a.expect("a", 3, 2)
	b.expect("a", 3, 2)
}

// shared opens one policy twice, in two stores, as a reload or a second handler does.
func (s *suite) shared() {
	w := s.windowOf(10, time.Hour)
	spec := s.spec([]window.Window{w})
	same := func([]window.Window) reqlimit.Spec { return spec }
	a, b := s.opened(s.store, same, w), s.opened(s.open(s.T), same, w)
	a.expect("a", 6, 6)
	b.expect("a", 6, 4)
	a.expect("a", 1, 0)
}

// atOnce lets many goroutines ask for the last of a limit.
func (s *suite) atOnce() {
	const limit, goroutines = 100, 32
	c := s.policy(limit)
	var passed atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			var result window.Result
			for range 20 {
				if err := c.Take(s.Context(), &reqlimit.Ask{Key: []byte("a"), Rule: &c.rule, Cost: 1}, &result); err != nil {
					s.Error(err)
					return
				}
				if result.Allowed {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if passed.Load() != limit {
		s.Errorf("%d passed, want exactly %d", passed.Load(), limit)
	}
}

func (s *suite) strangeKeys() {
	c := s.policy(1)
	for _, key := range []string{"", " ", "{a}", "{", "}", "a\x00b", "a:b", "\xff\xfe", "日本", string(make([]byte, 256)), "*", "a\r\nb"} {
		c.expect(key, 2, 1)
	}
}

// held holds places, and frees them.
func (s *suite) held() {
	c := s.policy(2)
	a := c.take("a", 1)
	c.expect("a", 3, 1)
	for range 3 {
		if err := c.Give(s.Context(), &reqlimit.Ask{Key: []byte("a"), Rule: &c.rule, Cost: 1}, &a.Receipt); err != nil {
			s.Fatal(err)
		}
	}
	c.expect("a", 3, 2) // giving back more than was held makes no room
}

// together holds that a request counts in every window or in none. The victim of a client that is refused by its own limit
// keeps all of the shared one.
func (s *suite) together() {
	c := s.opened(s.store, s.spec, s.windowOf(5, time.Hour), s.windowOf(3, 30*time.Minute), s.windowOf(100, 2*time.Hour))
	for range 3 {
		c.expect("a", 1, 1)
	}
	for range 50 {
		if r := c.take("a", 1); r.Allowed || r.Violated != 1 || r.States[0].Remaining != 2 || r.States[2].Remaining != 97 {
			s.Fatalf("refused by the second window: %+v", r)
		}
	}
	if r := c.take("a", 6); r.Allowed || r.Violated == 2 || r.Retry != window.Never {
		s.Errorf("a cost above two of the limits: %+v", r)
	}
}

// frees holds that what was counted stops counting: not before the period is over, and not much later.
func (s *suite) frees() {
	const period = 400 * time.Millisecond
	c := s.opened(s.store, s.spec, s.windowOf(3, period))
	begun := time.Now()
	c.expect("a", 4, 3)
	least := period
	if s.algorithm == reqlimit.GCRA || s.algorithm == reqlimit.Smooth { // which free one at a time
		least = 0
	}
	for {
		if c.take("a", 1).Allowed {
			break
		}
		if time.Since(begun) > patience {
			s.Fatal("the window never frees")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if took := time.Since(begun); took < least {
		s.Errorf("a request passed %v after the limit was used up, want at least %v", took, least)
	}
}

// shapes holds that a key under windows of another length counts apart, and under another limit of the same length does not.
func (s *suite) shapes() {
	windows := []window.Window{s.windowOf(10, time.Hour)}
	c := s.opened(s.store, s.spec, windows...)
	c.expect("a", 4, 4)
	low := *c
	low.rule = window.NewRule(s.windowOf(5, time.Hour))
	if s.algorithm != reqlimit.GCRA { // whose state is a time: a limit is the rate of its draining
		low.expect("a", 3, 1)
	}
	other := *c
	other.rule = window.NewRule(s.windowOf(5, 2*time.Hour))
	other.expect("a", 6, 5)
}

// always holds that with Always refused requests count, too.
func (s *suite) always() {
	spec := func(windows []window.Window) reqlimit.Spec {
		spec := s.spec(windows)
		spec.Always = true
		return spec
	}
	c := s.opened(s.store, spec, s.windowOf(3, time.Hour), s.windowOf(5, 2*time.Hour))
	c.expect("a", 3, 3)
	c.expect("a", 2, 0)
	if r := c.take("a", 0); r.States[1].Remaining != 0 {
		s.Errorf("refused requests did not count: %+v", r)
	}
}

// lower holds that a request under a low limit that is refused, and counted, takes nothing away from what was counted under a
// high one: else a client would get room by saying that it has the lesser plan.
func (s *suite) lower() {
	spec := func(windows []window.Window) reqlimit.Spec {
		spec := s.spec(windows)
		spec.Always = true
		return spec
	}
	c := s.opened(s.store, spec, s.windowOf(100, time.Hour))
	c.expect("a", 60, 60)
	low := *c
	low.rule = window.NewRule(s.windowOf(5, time.Hour))
	low.expect("a", 3, 0)
	if r := c.take("a", 0); r.States[0].Remaining > 40 {
		s.Errorf("%d of 100 remain after 60", r.States[0].Remaining)
	}
}
