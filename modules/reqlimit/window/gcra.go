// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package window

import "time"

// GCRA is the generic cell rate algorithm (ITU-T I.371): costs drain at the rate of Limit a Period, and Burst may be filled in
// at once. It shapes traffic evenly. It is no sliding window: a stretch of a period may hold limit and burst together.
type GCRA struct{}

// Words is the length of a window's state: the theoretical arrival time, when all that was counted has drained.
func (GCRA) Words() int { return 2 }

// Interval is how long one unit takes to drain, in nanoseconds, rounded up.
func (GCRA) Interval(w Window) int64 { return (int64(w.Period) + w.Limit - 1) / w.Limit }

// Check implements Algorithm.
func (g GCRA) Check(words []uint32, w Window, now, cost int64) Verdict {
	interval := g.Interval(w)
	ahead := max(get64(words)-now, 0)
	room := max(w.Burst*interval-ahead, 0) / interval
	v := Verdict{Room: room, Fits: cost <= room}
	if counted := ahead; counted > 0 {
		v.Reset = time.Duration((counted-1)%interval + 1)
	} else if cost > 0 {
		v.Reset = time.Duration(interval)
	}
	switch {
	case v.Fits:
	case cost > w.Burst:
		v.Retry = Never
	default:
		v.Retry = time.Duration(ahead + (cost-w.Burst)*interval)
	}
	return v
}

// Add implements Algorithm. The receipt is when the cost has drained. What was counted under another rule, which takes longer to
// drain than this one's burst, stays.
func (g GCRA) Add(words []uint32, w Window, now, cost int64) int64 {
	interval := g.Interval(w)
	tat := max(get64(words), now) + min(cost, w.Burst)*interval
	tat = max(get64(words), min(tat, now+w.Burst*interval))
	put64(words, tat)
	return tat
}

// Give implements Algorithm. What has drained meanwhile is not given back.
func (g GCRA) Give(words []uint32, w Window, now, receipt, cost int64) {
	back := min(cost*g.Interval(w), max(receipt-now, 0))
	put64(words, max(get64(words)-back, 0))
}
