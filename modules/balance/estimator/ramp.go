// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

// A new upstream is cold (caches, JIT, connection pools), one that recovered may not bear the load yet, and neither has
// latencies that say so. So it gets requests one at a time at first, then up to a growing part of what the others
// have under way, and a growing floor so that it warms up at all, however slow its first answers are.

// startRamp begins a ramp. u.mu is held.
func (u *Upstream) startRamp(now int64) {
	if u.params.Ramp <= 0 {
		return
	}
	u.rampFrom.Store(max(now, 1))
	u.setFlag(ramping)
}

// setBack takes note of a long stall, which held other requests, or one alone. After the first an upstream goes back to the
// middle of a ramp, unless it is not that far: it was well before, and to keep it from its share for long would cost more
// than what it holds if it does so again. After the next within the time of a ramp it begins anew, as it does do so again.
// One long answer alone is no sign of a stall, save where it stalled just before: a slow upstream has one request at a time,
// and a ramp would send it more than it deserves. u.mu is held.
func (u *Upstream) setBack(now int64, others bool) {
	again := u.stalledAt > 0 && now-u.stalledAt < int64(u.params.Ramp)
	if !again && !others {
		return
	}
	u.stalledAt = now
	if again {
		u.startRamp(now)
	} else if u.RampFraction(now) > .5 {
		u.startRamp(now - int64(u.params.Ramp/2))
	}
}

// StartRamp says that the upstream is back, as an active health check saw it: its share grows from almost nothing.
func (u *Upstream) StartRamp(now int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.setFlag(known)
	u.startRamp(now)
}

// RampFraction is how far the ramp is at now: 1 when there is none. A hashing policy multiplies weights by it.
func (u *Upstream) RampFraction(now int64) float64 {
	if u.flag.Load()&ramping == 0 {
		return 1
	}
	f := float64(now-u.rampFrom.Load()) / float64(u.params.Ramp)
	if f >= 1 {
		u.unflag(ramping)
		return 1
	}
	return max(0, f)
}

// rampCap is how many requests an upstream may have under way at fraction of its ramp, when the others have average.
func rampCap(fraction, average float64) int64 { return 1 + int64(fraction*average) }
