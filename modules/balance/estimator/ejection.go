// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"sync/atomic"
)

// Reason is why an upstream is ejected.
type Reason uint8

const (
	// Sound means that it is not.
	Sound Reason = iota
	// FailedInARow means that it failed Params.EjectAfter attempts, or more, in a row.
	FailedInARow
	// FailureRatio means that its recent failure ratio is Params.EjectRatio above the pool's best.
	FailureRatio
)

// String returns the reason as the admin API writes it; empty for Sound.
func (r Reason) String() string {
	switch r {
	case FailedInARow:
		return "failed_in_a_row"
	case FailureRatio:
		return "failure_ratio"
	default:
		return ""
	}
}

// ejection is the state of an upstream that was thrown out of the pool. The times are atomic, because whoever chooses
// claims a probe by moving the time of the next one.
type ejection struct {
	since      int64
	reason     Reason
	strikes    int // failed probes; kept over a recovery until the ramp is over, so that a relapse waits longer
	wins       int // good probes in a row
	count      int // ejections since the start
	unheard    int // requests of the proxy's own that failed since the last attempt
	probes     atomic.Int64
	nextCopy   atomic.Int64
	nextOwn    atomic.Int64
	nextClient atomic.Int64
	open       atomic.Bool // there is reason to believe that a client's own request would be answered
}

// schedule sets when the upstream may be probed next.
func (e *ejection) schedule(now int64, p *Params) {
	first := float64(p.ProbeFirst)
	e.open.Store(e.wins > 0)
	if e.wins > 0 {
		e.nextCopy.Store(now + int64(first))
		e.nextClient.Store(now + int64(first))
		return
	}
	e.unheard = 0
	strikes := float64(min(e.strikes, 30))
	e.nextCopy.Store(now + int64(min(float64(p.ProbeMax), first*math.Exp2(strikes))))
	e.nextClient.Store(now + int64(min(float64(p.ProbeClientMax), 2*first*math.Pow(3, strikes))))
	e.scheduleOwn(now, p)
}

// scheduleOwn sets when the proxy may ask by a request of its own: after twice as long as by a copy, which shows more.
func (e *ejection) scheduleOwn(now int64, p *Params) {
	times := math.Exp2(float64(min(e.strikes+e.unheard, 30)))
	e.nextOwn.Store(now + 2*int64(min(float64(p.ProbeMax), float64(p.ProbeFirst)*times)))
}

// Asked takes the outcome of a request of the proxy's own, which Choice.Own asked for. Well does not end the ejection: it
// lets a client's own request find out.
func (u *Upstream) Asked(now int64, well bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := &u.ejection
	switch {
	case u.flag.Load()&ejected == 0:
	case well:
		e.open.Store(true)
	default:
		e.unheard++
		e.scheduleOwn(now, u.params)
	}
}

// claim takes the right to probe at now, for one caller. A probe that is never answered is repeated after as long again.
func (e *ejection) claim(next *atomic.Int64, now int64, p *Params) bool {
	due := next.Load()
	if now < due || !next.CompareAndSwap(due, now+int64(max(p.ProbeFirst, p.ProbeMax))) {
		return false
	}
	e.probes.Add(1)
	return true
}

// eject throws the upstream out if it still is suspicious, or only if it failed in a row. The caller made sure that the
// pool can do without it.
func (u *Upstream) eject(now int64, inRowOnly bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.flag.Load()&(suspect|ejected) != suspect {
		return false
	}
	reason := u.failures.suspicious(u.params, u.pool.best, u.failures.inRow(u.begun.Load()), u.trial(now))
	if reason == Sound || (inRowOnly && reason != FailedInARow) {
		u.unflag(suspect)
		return false
	}
	if !u.trial(now) {
		u.ejection.strikes = 0
	}
	u.ejection.since, u.ejection.reason, u.ejection.wins = now, reason, 0
	u.ejection.count++
	u.ejection.schedule(now, u.params)
	u.stallEnd.Store(now)
	u.hung.Store(u.waiting.Load()) // may hang for ever: probes do not wait for these
	u.rampFrom.Store(0)
	u.trialFrom = 0
	u.unflag(suspect | ramping)
	u.setFlag(ejected)
	return true
}

// pardon ends an ejection for the failure ratio: the pool needs everybody who answers at all.
func (u *Upstream) pardon() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.flag.Load()&ejected != 0 && u.ejection.reason == FailureRatio {
		u.ejection.reason = Sound
		u.unflag(ejected | suspect)
	}
}

// probed takes the outcome of an attempt that began after the ejection. u.mu is held.
func (u *Upstream) probed(now int64, failed bool) {
	e := &u.ejection
	if failed {
		e.wins = 0
		e.strikes++
	} else {
		e.wins++
	}
	if failed || e.wins < u.params.RecoverAfter {
		e.schedule(now, u.params)
		return
	}
	e.reason = Sound
	u.failures.run, u.failures.fresh, u.failures.recent = 0, 0, 0
	u.trialFrom = now
	u.unflag(ejected | suspect)
	u.startRamp(now)
}

// trial reports whether the upstream recovered so lately that one more failure is enough. u.mu is held.
func (u *Upstream) trial(now int64) bool {
	return u.trialFrom > 0 && now-u.trialFrom < 2*int64(max(u.params.Ramp, u.params.ProbeMax))
}
