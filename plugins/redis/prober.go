// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

const (
	// ticks is how many ticks of its own clock a watch divides the timeout into. A process that is stopped or starved itself
	// gets its ticks late, and late ticks count as one each: so it has the time to read the answers that came meanwhile, and
	// takes its own slowness for nobody's outage.
	ticks = 15
	// spacing is the least time between two probes, however often one is asked for.
	spacing = 10 * time.Millisecond
	// idleAfter is how long after the last command probes become rare, and idleInterval how rare.
	idleAfter, idleInterval = 10 * time.Second, time.Second
)

// verdict is what a finished probe says.
type verdict int

const (
	healthy verdict = iota // answered in time
	late                   // answered, but after it counted as an outage: ask again at once
	unclear                // given up by the driver while the watch was patient: ask again at once
	failed                 // an error
)

// judge judges a finished probe.
//
// One that was answered late does not end an outage: a server that takes longer than the timeout for each answer would
// open and close the breaker in turn. One that the driver's deadline ended although the watch was not over is unclear: this
// process did not run meanwhile, or requests were answered.
func judge(err error, overdue bool) verdict {
	switch {
	case err != nil && !overdue && isTimeout(err):
		return unclear
	case err != nil:
		return failed
	case overdue:
		return late
	}
	return healthy
}

// pause returns how long after one probe's start the next one starts; jitter is from -1 to 1.
func pause(v verdict, idle bool, interval time.Duration, jitter float64) time.Duration {
	if v == late || v == unclear {
		return 0
	}
	if idle && v == healthy { // an outage is watched closely, so that its end is noticed within the interval
		interval = max(interval, idleInterval)
	}
	return interval + time.Duration(jitter*float64(interval)/10)
}

// prober watches one client's servers from one goroutine. Its functions are set before run.
type prober struct {
	interval, timeout time.Duration

	// probe asks every server that matters once. It returns within a second and may be abandoned by cancelling.
	probe func(context.Context) error
	// heard returns when a request was last answered: proof of life, where it speaks for all servers; else the zero time.
	heard func() time.Time
	// used reports whether a command was sent since the last call; asleep is told when probes become rare.
	used   func() bool
	asleep func()

	up    func()        // after each healthy probe
	down  func(error)   // after each failed one, and when one is overdue
	count func(verdict) // after each

	jitter func() float64 // -1 to 1
	kick   chan struct{}  // of capacity 1: probe now, as something looks wrong or the client is used again
	done   chan struct{}  // closed when run returns

	// Of run's goroutine.
	last   time.Time // when a command was last seen
	silent int       // ticks that an unclear probe leaves to the next one's watch
}

func newProber(s *settings) *prober {
	return &prober{
		interval: s.ProbeInterval, timeout: s.ProbeTimeout,
		jitter: func() float64 { return 2*rand.Float64() - 1 },
		kick:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
}

// wake asks for a probe now.
func (p *prober) wake() {
	select {
	case p.kick <- struct{}{}:
	default: // one is asked for already
	}
}

// run probes until ctx is done.
func (p *prober) run(ctx context.Context) {
	defer close(p.done)
	p.last = time.Now()
	for ctx.Err() == nil {
		begun := time.Now()
		v := p.once(ctx)
		wait := pause(v, p.idle(), p.interval, p.jitter())
		p.sleep(ctx, begun, wait)
	}
}

// once probes and reports.
func (p *prober) once(ctx context.Context) verdict {
	w := p.watch()
	err := p.probe(ctx)
	overdue, silent := w.stop()
	v := judge(err, overdue)
	if p.silent = 0; v == unclear {
		p.silent = silent
	}
	if ctx.Err() != nil { // the client is being closed, which is no outage
		return v
	}
	p.count(v)
	switch v {
	case healthy:
		p.up()
	case failed:
		p.down(err)
	}
	return v
}

// idle reports whether there was no command for a while.
func (p *prober) idle() bool {
	if p.used() {
		p.last = time.Now()
	}
	if time.Since(p.last) < idleAfter {
		return false
	}
	p.asleep()
	return true
}

// sleep waits until the next probe is due.
func (p *prober) sleep(ctx context.Context, begun time.Time, wait time.Duration) {
	timer := time.NewTimer(wait - time.Since(begun))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-p.kick:
	}
	timer.Reset(spacing - time.Since(begun))
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// watch is the deadline of one probe.
type watch struct {
	p       *prober
	mu      sync.Mutex // guards the rest
	timer   *time.Timer
	last    time.Time // of the last tick
	silent  int       // ticks since Redis answered anything
	overdue bool
	stopped bool
}

func (p *prober) watch() *watch {
	w := &watch{p: p, last: time.Now(), silent: p.silent}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(p.timeout/ticks, w.tick)
	return w
}

// tick opens the breaker once Redis has answered nothing for as many ticks as make the timeout.
func (w *watch) tick() {
	// Go runs a timer's function ahead of all goroutines that are ready. Where these are thousands, the one that has the
	// answer in its hands may be the last of them; this puts the tick behind it.
	runtime.Gosched()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	if w.silent++; w.p.heard().After(w.last) {
		w.silent = 0
	}
	w.last = time.Now()
	if w.silent < ticks {
		w.timer.Reset(w.p.timeout / ticks)
		return
	}
	w.overdue = true
	w.p.down(errSilent)
}

// stop ends the watch, and reports whether the probe was overdue and for how many ticks Redis was silent. After it the watch
// opens nothing any more.
func (w *watch) stop() (overdue bool, silent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
	return w.overdue, w.silent
}
