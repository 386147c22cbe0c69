// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

// A stalled upstream is known by its answers only when the stall is over. Its silence is known at once: with q requests
// waiting and an expected latency of e, an answer should come every e/q. After many times that, and no answer to any, it
// counts as stalled and is charged with the time it kept quiet, for every request that waits.

const (
	// stallFactor is how many times longer than for a choice the quiet must be to count as a stall in the statistics: a
	// wrong choice costs little, yet to take every long answer for a stall would make the upstream look quicker than it is.
	stallFactor = 2
	// lookAfter is how long, in nanoseconds, a stalled upstream is left alone until one request looks whether it is back;
	// then after as long again as it has been quiet.
	lookAfter = 3e9
	// longStall is the quiet, in nanoseconds, after which an upstream comes back slowly: one that has stood still for so long
	// may do it again, and every request that it holds then waits until the end.
	longStall = 1e9
)

// silent returns the charge in nanoseconds for an upstream that has waiting requests and was last heard of at heard.
func silent(now, heard, waiting int64, expected, limit float64) float64 {
	quiet := float64(now - heard)
	if waiting <= 0 || limit <= 0 || quiet*float64(waiting) <= limit*expected {
		return 0
	}
	return quiet * float64(waiting+1)
}

// silence is the charge where an answer is expected to take so long.
func (u *Upstream) silence(now int64, expected, limit float64) float64 {
	waiting := u.waiting.Load()
	if waiting == 0 {
		return 0
	}
	if u.hung.Load() > 0 {
		waiting -= u.stuck()
	}
	return silent(now, u.heard.Load(), waiting, expected, limit)
}

// answering takes note that a, which waited, does not any more, and returns how long the upstream had been quiet.
func (u *Upstream) answering(a *Attempt, now int64, heard bool) (quiet float64) {
	u.waiting.Add(-1)
	if a.began < u.stallEnd.Load() {
		u.hung.Add(-1)
	}
	if heard {
		quiet = float64(now - u.heard.Swap(now))
	}
	return quiet
}

// broke takes note of an answer at now after quiet nanoseconds, of an attempt that began and took latency, and returns
// the latency to learn. Every request that a stall held up tells of the stall, not of what the next one would take: the
// first counts, up to what makes a stall, the others do not (false). Those that still hang then, when others pass them,
// are no load and no sign of another stall: else a few that hang for ever would keep all others away. u.mu is held.
func (u *Upstream) broke(now, began int64, quiet, latency float64) (float64, bool) {
	limit := stallFactor * u.params.Silence * u.published.at(level(u.load()+1))
	if u.params.Silence > 0 && limit > 0 && quiet > limit {
		u.stallEnd.Store(now)
		u.hung.Store(u.waiting.Load())
		if quiet >= longStall {
			u.setBack(now, u.waiting.Load() > 0)
		}
		return min(latency, limit), true
	}
	return latency, began >= u.stallEnd.Load()
}

// stuck is the number of requests that hang since a stall.
func (u *Upstream) stuck() int64 { return max(0, min(u.hung.Load(), u.waiting.Load())) }

// load is the number of requests under way that count.
func (u *Upstream) load() int64 {
	if u.hung.Load() <= 0 {
		return u.inFlight.Load()
	}
	return max(0, u.inFlight.Load()-u.stuck())
}

// look claims the right to look whether a stalled upstream is back, for one caller.
func (u *Upstream) look(now int64) bool {
	quiet := now - u.heard.Load()
	due := u.nextLook.Load()
	return quiet > lookAfter && now >= due && u.nextLook.CompareAndSwap(due, now+quiet)
}
