// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"math"
	"time"
)

// Smooth counts in two buckets, each as long as the period, and takes the older one's count for evenly spread. It needs little
// memory, never refuses steady traffic, and lets up to twice the limit through in the worst stretch of a period: a burst at
// the end of one bucket and one at the end of the next.
type Smooth struct{}

// Words is the length of a window's state: the number of the bucket, its count, the one of the bucket before.
func (Smooth) Words() int { return 4 }

// Check implements Algorithm.
func (Smooth) Check(words []uint32, w Window, now, cost int64) Verdict {
	period := int64(w.Period)
	epoch := advance(words, now/period)
	elapsed := min(max(now-epoch*period, 0), period)
	current, previous := twoBuckets(words)
	used := current + weigh(previous, elapsed, period)
	v := Verdict{Room: max(w.Limit-used, 0), Fits: used+cost <= w.Limit, Reset: time.Duration(period - elapsed)}
	if previous > 0 { // one leaves at a time
		v.Reset = time.Duration(min(elapsed+(period+previous-1)/previous, period) - elapsed)
	}
	switch {
	case v.Fits:
	case cost > w.Limit:
		v.Retry = Never
	case current+cost <= w.Limit:
		v.Retry = time.Duration(shrinks(previous, w.Limit-cost-current, period) - elapsed)
	default:
		v.Retry = time.Duration(period - elapsed + shrinks(current, w.Limit-cost, period))
	}
	return v
}

// Add implements Algorithm.
func (Smooth) Add(words []uint32, w Window, _, cost int64) int64 {
	epoch := get64(words)
	c := &words[2+epoch%2]
	*c = fill(*c, w, cost)
	return epoch
}

// Give implements Algorithm.
func (Smooth) Give(words []uint32, w Window, now, receipt, cost int64) {
	epoch := advance(words, now/int64(w.Period))
	if receipt != epoch && receipt != epoch-1 {
		return
	}
	c := &words[2+receipt%2]
	*c = uint32(max(int64(*c)-cost, 0))
}

func twoBuckets(words []uint32) (current, previous int64) {
	epoch := get64(words)
	return int64(words[2+epoch%2]), int64(words[2+(epoch+1)%2])
}

// weigh is what a full bucket still counts after a part of the next one, rounded up.
func weigh(count, elapsed, period int64) int64 {
	return int64(math.Ceil(float64(count) * float64(period-elapsed) / float64(period)))
}

// shrinks returns how far into the next bucket a full one counts no more than room.
func shrinks(count, room, period int64) int64 {
	if count <= room {
		return 0
	}
	return min(int64(math.Ceil(float64(period)*(1-float64(room)/float64(count))))+1, period)
}
