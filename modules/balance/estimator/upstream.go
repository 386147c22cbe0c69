// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package estimator knows what to expect of upstreams from what they did: how long an answer would take at the present
// load, how often they fail, whether they went quiet; it chooses among them, and says which to leave out.
//
// It is arithmetic: no I/O, no goroutines, no clock. Time comes in as nanoseconds of any clock that does not go back, so
// that a simulator runs the same code as the proxy. Everything may be called from many goroutines.
package estimator

import (
	"sync"
	"sync/atomic"
)

// Flags of an upstream, for a choice to read at one glance.
const (
	known     uint32 = 1 << iota // a pool has seen it
	suspect                      // its failures are enough to eject it
	ejected                      // it gets probes only
	ramping                      // it is new or recovered
	excessive                    // it fails more than others: no exploration
	doubted                      // it failed so often in a row that it gets one request at a time
)

// freshFor is how long published figures stand while answers come in, in nanoseconds; it bounds what answers cost.
const freshFor = 2e6

// Upstream is what is known of one upstream. Use New.
//
// Choices only read its atomics, which answers renew; the mutexes are held for well under a microsecond.
type Upstream struct {
	params *Params

	// What a choice reads of an upstream that is well comes first: it fits into few cache lines.
	flag      atomic.Uint32
	inFlight  atomic.Int64 // attempts that load the upstream
	waiting   atomic.Int64 // of these, without headers yet
	hung      atomic.Int64 // waiting since before stallEnd
	heard     atomic.Int64 // time of the last headers, or of the first request after idleness
	published published

	open     atomic.Int64  // all attempts, streams too
	begun    atomic.Uint64 // number of attempts so far
	rampFrom atomic.Int64
	stallEnd atomic.Int64 // when the last stall ended, or the last ejection began
	nextLook atomic.Int64 // when a stalled upstream is tried again

	mu          sync.Mutex // guards the rest, save the rate
	curve       curve
	failures    failures
	ejection    ejection
	trialFrom   int64
	stalledAt   int64 // when the last long stall ended
	idle        idle
	pool        poolFigures
	publishedAt int64
	counts      Counts

	rateMu sync.Mutex
	rate   rate
}

// Counts are totals since the upstream was first known.
type Counts struct {
	// Answered is the number of attempts with an answer that is no failure.
	Answered uint64 `json:"answered"`
	// Failed is the number of failed attempts.
	Failed uint64 `json:"failed"`
	// Canceled is the number of attempts that the client gave up before their latency was known.
	Canceled uint64 `json:"canceled"`
}

// New returns an upstream of which nothing is known.
func New(p Params) *Upstream {
	p = p.withDefaults()
	u := &Upstream{params: &p, pool: poolFigures{best: priorRatio}}
	u.publish(0)
	return u
}

func (u *Upstream) setFlag(f uint32) { u.flag.Or(f) }

func (u *Upstream) unflag(f uint32) { u.flag.And(^f) }

// publish renews the figures that choices read. u.mu is held.
func (u *Upstream) publish(now int64) {
	u.publishedAt = now
	u.curve.fade(now, float64(u.params.Memory))
	u.failures.fade(now)
	typical := u.curve.typical(u.pool.typical)
	var expected [levels]float64
	known := u.curve.expected(typical, &expected)
	lowest, at := u.curve.lowest()
	u.idle.learn(lowest, at, now)
	u.published.set(typical, max(lowest, expected[0]), u.judge(now), expected[:known])
}

// judge renews what follows from failures, and returns what they cost. u.mu is held.
func (u *Upstream) judge(now int64) (surcharge float64) {
	p, best := u.params, u.pool.best
	inRow := u.failures.inRow(u.begun.Load())
	if inRow == 0 && u.failures.recent <= best { // as nearly always
		u.mark(excessive, false)
		u.mark(doubted, false)
		return 0
	}
	excess := u.failures.excess(best, max(0, p.FailureTolerance))
	u.mark(excessive, excess > 0)
	u.mark(doubted, p.EjectAfter > 0 && inRow >= runLimit(2, best, trialChance))
	if u.flag.Load()&ejected == 0 && u.failures.suspicious(p, best, inRow, u.trial(now)) != Sound {
		u.setFlag(suspect)
	}
	return excess * max(0, p.FailureCost) * u.pool.idle
}

func (u *Upstream) mark(f uint32, on bool) {
	if on != (u.flag.Load()&f != 0) {
		if on {
			u.setFlag(f)
		} else {
			u.unflag(f)
		}
	}
}
