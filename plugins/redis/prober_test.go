// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

const ms = time.Millisecond

func TestJudge(t *testing.T) {
	boom, timeout := errors.New("boom"), fmt.Errorf("reading: %w", os.ErrDeadlineExceeded)
	for _, test := range []struct {
		err     error
		overdue bool
		want    verdict
	}{
		{nil, false, healthy},
		{nil, true, late},
		{boom, false, failed},
		{boom, true, failed},
		{timeout, true, failed},
		{timeout, false, unclear},
	} {
		if got := judge(test.err, test.overdue); got != test.want {
			t.Errorf("judge(%v, %v) = %v, want %v", test.err, test.overdue, got, test.want)
		}
	}
}

func TestPause(t *testing.T) {
	for _, test := range []struct {
		v        verdict
		idle     bool
		interval time.Duration
		jitter   float64
		want     time.Duration
	}{
		{healthy, false, 50 * ms, 0, 50 * ms},
		{healthy, false, 50 * ms, 1, 55 * ms},
		{healthy, false, 50 * ms, -1, 45 * ms},
		{healthy, true, 50 * ms, 0, time.Second},
		{healthy, true, 5 * time.Second, 0, 5 * time.Second},
		{failed, true, 50 * ms, 0, 50 * ms}, // an outage is watched closely
		{late, false, 50 * ms, 1, 0},
		{unclear, true, 50 * ms, 1, 0},
	} {
		if got := pause(test.v, test.idle, test.interval, test.jitter); got != test.want {
			t.Errorf("pause(%+v) = %v", test, got)
		}
	}
}

// fake is a server that a prober asks in virtual time, with the breaker it moves.
type fake struct {
	*breaker
	mu    sync.Mutex
	delay time.Duration // of each answer; below zero none comes until the context ends
	err   error
	heard time.Time
	used  bool
	slept bool
	asked int
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) probe(ctx context.Context) error {
	f.mu.Lock()
	f.asked++
	delay, err := f.delay, f.err
	f.mu.Unlock()
	if delay < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(delay)
	return err
}

// start runs a prober with the defaults, and the largest jitter, against f.
func (f *fake) start(t *testing.T) *prober {
	f.breaker = newBreaker()
	p := newProber(&settings{ProbeInterval: defaultProbeInterval, ProbeTimeout: defaultProbeTimeout})
	p.probe = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeDeadline)
		defer cancel()
		return f.probe(ctx)
	}
	p.heard = func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.heard }
	p.used = func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.used }
	p.asleep = func() { f.set(func() { f.slept = true }) }
	p.up = func() { f.close() }
	p.down = func(err error) { f.open(err) }
	p.count = f.count
	p.jitter = func() float64 { return 1 }
	ctx, cancel := context.WithCancel(t.Context())
	go p.run(ctx)
	t.Cleanup(func() { cancel(); <-p.done })
	return p
}

func (f *fake) isOpen() bool { return f.gate.Load().err != nil }

// opened returns how often the breaker opened.
func (f *fake) opened() uint64 {
	f.breaker.mu.Lock()
	defer f.breaker.mu.Unlock()
	return f.opens
}

// askedSoFar returns how many probes began, and whether the prober said that they become rare.
func (f *fake) askedSoFar() (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, f.slept
}

// until returns how long a change takes, in steps of 1 ms.
func until(t *testing.T, limit time.Duration, done func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !done() {
		gatehousetest.Advance(ms)
		if time.Since(begun) > limit {
			t.Fatalf("not within %v", limit)
		}
	}
	return time.Since(begun)
}

func TestStallOpensWithin200Milliseconds(t *testing.T) {
	var worst time.Duration
	for phase := range 33 { // wherever between two probes the stall begins
		synctest.Test(t, func(t *testing.T) {
			f := &fake{used: true}
			f.start(t)
			gatehousetest.Advance(time.Second + time.Duration(phase)*ms)
			if f.isOpen() {
				t.Fatal("open while healthy")
			}
			f.set(func() { f.delay = -1 })
			took := until(t, 200*ms, f.isOpen)
			worst = max(worst, took)
			f.set(func() { f.delay = 0 })
			until(t, time.Second, func() bool { return !f.isOpen() })
		})
	}
	t.Logf("opened after at most %v", worst)
}

func TestErrorOpensAtTheNextProbeAndRecoveryFollowsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{used: true}
		f.start(t)
		gatehousetest.Advance(time.Second)
		f.set(func() { f.err = errors.New("connection refused") })
		until(t, 34*ms, f.isOpen)
		gatehousetest.Advance(time.Minute)
		f.set(func() { f.err = nil })
		until(t, 34*ms, func() bool { return !f.isOpen() })
	})
}

func TestLateAnswersDoNotEndAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{used: true}
		f.start(t)
		gatehousetest.Advance(time.Second)
		f.set(func() { f.delay = 200 * ms })
		until(t, time.Second, f.isOpen)
		gatehousetest.Advance(time.Minute)
		if !f.isOpen() || f.opened() != 1 {
			t.Fatalf("open %v, opened %d times", f.isOpen(), f.opened())
		}
		f.set(func() { f.delay = 60 * ms })
		until(t, time.Second, func() bool { return !f.isOpen() })
	})
}

func TestSlownessBelowTheTimeoutIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{used: true, delay: 145 * ms}
		f.start(t)
		gatehousetest.Advance(time.Minute)
		if f.opened() != 0 {
			t.Fatalf("opened %d times", f.opened())
		}
	})
}

func TestAnsweredRequestsAreProofOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{used: true}
		f.start(t)
		gatehousetest.Advance(time.Second)
		f.set(func() { f.delay = -1 }) // the prober's connection is stuck, but requests are answered
		for range 200 {
			f.set(func() { f.heard = time.Now() })
			gatehousetest.Advance(20 * ms)
			if f.isOpen() {
				t.Fatal("open although requests are answered")
			}
		}
		until(t, 200*ms, f.isOpen) // now they are not
	})
}

func TestProbesBecomeRareWithoutUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := f.start(t)
		gatehousetest.Advance(idleAfter + time.Second)
		before, _ := f.askedSoFar()
		gatehousetest.Advance(20 * time.Second)
		if n, slept := f.askedSoFar(); n-before < 17 || n-before > 21 || !slept {
			t.Fatalf("%d probes in 20 idle seconds, asleep %v", n-before, slept)
		}
		gatehousetest.Advance(300 * ms)
		f.set(func() { f.delay, f.used = -1, true })
		p.wake() // as the first command does
		until(t, 200*ms, f.isOpen)
	})
}

func TestWakesDoNotMultiplyProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{used: true}
		p := f.start(t)
		gatehousetest.Advance(time.Second)
		before, _ := f.askedSoFar()
		for range 1000 {
			p.wake()
			gatehousetest.Advance(ms)
		}
		if n, _ := f.askedSoFar(); n-before > 101 {
			t.Fatalf("%d probes in a second, however often it is woken", n-before)
		}
	})
}

func TestStopEndsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: -1}
		f.start(t) // its cleanup waits for the prober
		gatehousetest.Advance(10 * ms)
	})
}
