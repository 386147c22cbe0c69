// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// fakeUpstreams answer checks as a test wants, and remember when they were asked.
type fakeUpstreams struct {
	mu     sync.Mutex
	answer func(address string, n int) error // of the nth check, from 0
	times  map[string][]time.Time
}

// RoundTrip implements http.RoundTripper.
func (f *fakeUpstreams) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	address := req.URL.Host
	n := len(f.times[address])
	f.times[address] = append(f.times[address], time.Now())
	f.mu.Unlock()
	if err := f.answer(address, n); err != nil {
		if errors.Is(err, context.DeadlineExceeded) { // hang
			<-req.Context().Done()
		}
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("well"))}, nil
}

func (f *fakeUpstreams) asked(address string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.times[address])
}

// watching starts a checker of upstreams that all pass unless answer is set.
func watching(t *testing.T, h Health, r *registry, f *fakeUpstreams, addresses ...string) *checker {
	t.Helper()
	made, err := h.parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.times == nil {
		f.times = map[string][]time.Time{}
	}
	if f.answer == nil {
		f.answer = func(string, int) error { return nil }
	}
	c := newChecker(t.Context(), made, f, r, zap.NewNop())
	c.begin()
	var fixed []*upstream
	for _, a := range addresses {
		fixed = append(fixed, r.get(a))
	}
	c.watch(fixed, true)
	return c
}

func end(t *testing.T, c *checker) {
	t.Helper()
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

// verdictOf returns the only state of an upstream that somebody uses.
func verdictOf(t *testing.T, r *registry, address string) HealthStatus {
	t.Helper()
	states := r.get(address).checks.used()
	if len(states) != 1 {
		t.Fatalf("%s has %d states, want 1", address, len(states))
	}
	return states[0].status()
}

var errRefused = errors.New("connection refused")

// Isolated failures, 10,000 checks, no flip: the whole machinery, not only the count.
func TestCheckerDoesNotFlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		f := &fakeUpstreams{answer: func(_ string, n int) error {
			if n%10 == 9 {
				return errRefused
			}
			return nil
		}}
		c := watching(t, Health{}, r, f, "a:1")
		for len(f.asked("a:1")) < 10_000 {
			gatehousetest.Advance(time.Minute)
		}
		if s := verdictOf(t, r, "a:1"); s.Flips != 0 || s.Verdict != "up" {
			t.Errorf("after %d checks: %+v", len(f.asked("a:1")), s)
		}
		end(t, c)
	})
}

func TestCheckerTempo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newRegistry(), &fakeUpstreams{}
		addresses := []string{"a:1", "b:1", "c:1", "d:1", "e:1"}
		begin := time.Now()
		c := watching(t, Health{}, r, f, addresses...)
		gatehousetest.Advance(1000 * time.Second)
		var first []time.Time
		for _, a := range addresses {
			times := f.asked(a)
			first = append(first, times[0])
			if n := len(times); n < 95 || n > 106 {
				t.Errorf("%s: %d checks in 1000 s, want about 100", a, n)
			}
			shortest, longest := time.Hour, time.Duration(0)
			for i := range times[1:] {
				gap := times[i+1].Sub(times[i])
				shortest, longest = min(shortest, gap), max(longest, gap)
			}
			if shortest < 9*time.Second || longest > 11*time.Second || longest-shortest < time.Second {
				t.Errorf("%s: intervals from %s to %s, want them spread over 9 to 11 s", a, shortest, longest)
			}
			if d := times[0].Sub(begin); d > time.Second {
				t.Errorf("%s: first check after %s", a, d)
			}
		}
		slices.SortFunc(first, time.Time.Compare)
		if len(slices.CompactFunc(first, time.Time.Equal)) < len(addresses) {
			t.Error("two upstreams were first checked at the same moment")
		}
		end(t, c)
	})
}

// An upstream that does not answer goes down after three deadlines; others are not affected, nor delayed.
func TestCheckerOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		f := &fakeUpstreams{answer: func(address string, _ int) error {
			if address == "hangs:1" {
				return context.DeadlineExceeded
			}
			return nil
		}}
		before := r.generation.Load()
		c := watching(t, Health{Jitter: new(float64)}, r, f, "hangs:1", "well:1")
		gatehousetest.Advance(24 * time.Second)
		s := verdictOf(t, r, "hangs:1")
		if s.Verdict != "down" || s.FailedInARow != 3 || s.Problem != "no answer within 2s" || r.generation.Load() == before {
			t.Errorf("%+v", s)
		}
		if s := verdictOf(t, r, "well:1"); s.Verdict != "up" || s.PassedInARow != 3 || s.Problem != "" {
			t.Errorf("%+v", s)
		}
		if got := fmt.Sprint(c.down([]*upstream{r.get("well:1"), r.get("hangs:1")})); got != "[false true]" {
			t.Errorf("down: %s", got)
		}
		end(t, c)
	})
}

// Two configs overlap, as in a reload: one check at a time, one state, and what was counted goes on.
func TestCheckersOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		f := &fakeUpstreams{answer: func(string, int) error { return errRefused }}
		h := Health{Fails: 10, Jitter: new(float64)}
		old := watching(t, h, r, f, "a:1")
		gatehousetest.Advance(25 * time.Second)
		rejected := watching(t, h, r, f, "a:1")
		gatehousetest.Advance(10 * time.Second)
		end(t, rejected)
		next := watching(t, h, r, f, "a:1")
		gatehousetest.Advance(10 * time.Second)
		end(t, old)
		gatehousetest.Advance(46 * time.Second)
		times := f.asked("a:1")
		for i := range times[1:] {
			if gap := times[i+1].Sub(times[i]); gap != 10*time.Second {
				t.Errorf("check %d came %s after the one before", i+1, gap)
			}
		}
		if s := verdictOf(t, r, "a:1"); s.FailedInARow != 10 || s.Verdict != "down" || s.Flips != 1 {
			t.Errorf("after %d checks: %+v", len(times), s)
		}
		end(t, next)
	})
}

// A config that ends in the middle of a check reports nothing: it was the config that ended.
func TestCheckerEndsMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		f := &fakeUpstreams{answer: func(string, int) error { return context.DeadlineExceeded }}
		h := Health{Fails: 1}
		old := watching(t, h, r, f, "a:1")
		next := watching(t, h, r, f, "a:1")
		gatehousetest.Advance(1500 * time.Millisecond) // within the first check's timeout
		if n := len(f.asked("a:1")); n != 1 {
			t.Fatalf("%d checks, want one of the two checkers at it", n)
		}
		end(t, old)
		end(t, next)
		after := watching(t, h, r, f, "a:1")
		if s := verdictOf(t, r, "a:1"); s.Verdict != "up" || s.FailedInARow != 0 {
			t.Errorf("%+v", s)
		}
		end(t, after)
	})
}

func TestCheckerOptionsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		f := &fakeUpstreams{answer: func(string, int) error { return errRefused }}
		old := watching(t, Health{}, r, f, "a:1")
		gatehousetest.Advance(time.Minute)
		faster := watching(t, Health{Interval: defaultCheckInterval / 2}, r, f, "a:1")
		end(t, old)
		if s := verdictOf(t, r, "a:1"); s.Verdict != "down" {
			t.Errorf("another interval, and what was known is lost: %+v", s)
		}
		other := watching(t, Health{URI: "/other"}, r, f, "a:1")
		end(t, faster)
		if s := verdictOf(t, r, "a:1"); s.Verdict != "up" {
			t.Errorf("another check begins with another's verdict: %+v", s)
		}
		end(t, other)
		gatehousetest.Advance(time.Hour)
		again := watching(t, Health{URI: "/other", Initial: "unknown"}, r, f, "a:1")
		if s := verdictOf(t, r, "a:1"); s.Verdict != "unknown" {
			t.Errorf("a verdict of an hour ago: %+v", s)
		}
		gatehousetest.Advance(time.Second)
		if s := verdictOf(t, r, "a:1"); s.Verdict != "down" || s.Flips != 0 {
			t.Errorf("after the first check: %+v", s)
		}
		end(t, again)
	})
}

// Upstreams of a dynamic source are checked while they are in the pool, and a while longer.
func TestCheckerDynamic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newRegistry(), &fakeUpstreams{}
		c := watching(t, Health{}, r, f, "fixed:1")
		pool := []*upstream{r.get("a:1"), r.get("b:1")}
		c.down(pool)
		gatehousetest.Advance(2 * idleLimit) // no request all the while
		r.get("x:1")                         // has the registry look for idle ones
		if r.get("a:1") != pool[0] {
			t.Error("the registry forgot an upstream that is checked")
		}
		c.down(pool[:1])
		gatehousetest.Advance(30 * time.Second)
		n := len(f.asked("b:1"))
		c.down(pool)
		c.down(pool[:1])
		gatehousetest.Advance(50 * time.Second)
		if len(f.asked("b:1")) == n {
			t.Error("an upstream that comes and goes is not checked any more")
		}
		gatehousetest.Advance(time.Minute)
		n = len(f.asked("b:1"))
		gatehousetest.Advance(time.Hour)
		if len(f.asked("b:1")) != n || len(c.watched) != 2 {
			t.Errorf("%d more checks of an upstream that is gone; %d are watched", len(f.asked("b:1"))-n, len(c.watched))
		}
		if a := len(f.asked("a:1")); a < 1000 {
			t.Errorf("the other one was checked %d times only", a)
		}
		end(t, c)
	})
}

func TestCheckerSkipsRequestPlaceholders(t *testing.T) {
	r, f := newRegistry(), &fakeUpstreams{}
	c := watching(t, Health{}, r, f, "{http.request.host}:80", "a:1")
	if len(c.watched) != 1 || c.down([]*upstream{r.get("{http.request.host}:80")}) != nil {
		t.Errorf("%d are watched, want one", len(c.watched))
	}
	end(t, c)
}

func TestNilChecker(t *testing.T) {
	var c *checker
	if c.down([]*upstream{{}}) != nil || c.failClosed() || c.close() != nil {
		t.Error("no checks, but an opinion")
	}
	c.watch([]*upstream{{}}, true)
}
