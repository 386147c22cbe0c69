// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "sync/atomic"

// Outcome is how an attempt ended.
type Outcome uint8

const (
	// Answered means that the upstream answered, and not with a failure.
	Answered Outcome = iota
	// Failed means that it did not answer (connection refused, reset, timed out), that its status counts as a failure, or
	// that the body broke off.
	Failed
	// Canceled means that the client went away. It says nothing about the upstream, save that it took at least so long.
	Canceled
)

// Attempt is one request under way to an upstream. It must not be copied after Begin. Its methods may be called from
// different goroutines, and Done more than once: the first call counts.
type Attempt struct {
	upstream *Upstream
	began    int64
	number   uint64 // of the upstream's attempts
	level    int    // load level at the beginning
	state    atomic.Uint32
	bytes    atomic.Int64
}

// States of an attempt; each bit is set once.
const (
	gotHeaders uint32 = 1 << iota
	judged            // its outcome is in the statistics
	detached          // it counts no more as load
	over
)

// Begin starts a at now: the request goes out to u. Every attempt that began must be Done.
func (u *Upstream) Begin(a *Attempt, now int64) {
	u.open.Add(1)
	a.number = u.begun.Add(1)
	q := u.load()
	u.inFlight.Add(1)
	if u.waiting.Add(1) == 1 {
		u.heard.Store(now)
		u.hung.Store(0)
	}
	a.upstream, a.began, a.level = u, now, level(q)
}

// Headers says that the response headers are there at now. Interim responses (1xx, save 101) do not count. With failed
// the status counts as a failure, whose latency is of no interest: failures are quick.
func (a *Attempt) Headers(now int64, failed bool) {
	if a.state.Or(gotHeaders)&(gotHeaders|over) != 0 {
		return
	}
	u := a.upstream
	quiet := u.answering(a, now, true)
	switch {
	case failed:
		a.state.Or(judged)
		u.observe(a, now, Failed, quiet)
	case u.params.Measure == ToHeaders:
		a.state.Or(judged)
		u.observe(a, now, Answered, quiet)
	}
}

// Detach says that the body is a stream without an end in sight (an upgraded connection, server-sent events): the
// attempt stays open, yet no longer counts as load, and its end says nothing about latency.
func (a *Attempt) Detach() {
	if a.state.Or(detached|judged)&(detached|over) == 0 {
		a.upstream.inFlight.Add(-1)
	}
}

// Received says that bytes of the body came in at now.
func (a *Attempt) Received(now int64, bytes int) {
	a.bytes.Add(int64(bytes))
	a.upstream.received(now, bytes)
}

// Done ends the attempt at now. Where Headers was not called, outcome is the attempt's; where it was, outcome is how the
// body ended.
func (a *Attempt) Done(now int64, outcome Outcome) {
	before := a.state.Or(over)
	if before&over != 0 {
		return
	}
	u := a.upstream
	u.open.Add(-1)
	if before&detached == 0 {
		u.inFlight.Add(-1)
	}
	quiet := 0.
	if before&gotHeaders == 0 {
		quiet = u.answering(a, now, outcome != Canceled)
	}
	if before&judged == 0 || (outcome == Failed && before&detached == 0) {
		u.observe(a, now, outcome, quiet)
	}
	if outcome == Answered {
		u.finished(a.bytes.Load())
	}
}

// observe takes what an attempt showed, after the upstream had been quiet.
func (u *Upstream) observe(a *Attempt, now int64, outcome Outcome, quiet float64) {
	latency := float64(max(1, now-a.began)) // on a coarse clock an answer may come at once; estimates divide by it
	u.mu.Lock()
	defer u.mu.Unlock()
	u.curve.fade(now, float64(u.params.Memory))
	if outcome == Canceled {
		u.counts.Canceled++
		u.curve.raise(a.level, latency)
		return
	}
	failed := outcome == Failed
	u.failures.fade(now)
	u.failures.add(failed, a.number)
	if failed {
		u.counts.Failed++
	} else {
		u.counts.Answered++
		if latency, counts := u.broke(now, a.began, quiet, latency); counts {
			u.curve.add(a.level, latency)
		}
	}
	if u.flag.Load()&ejected != 0 && a.began > u.ejection.since {
		u.probed(now, failed)
	}
	if failed || now-u.publishedAt >= freshFor || u.curve.all.weight < 12 || u.flag.Load()&doubted != 0 {
		u.publish(now)
	}
}
