// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package window

import "time"

// DefaultBuckets and MaxBuckets are the number of a sliding window's buckets. With 15, a window of a minute has buckets of
// four seconds, and a client that always wants more gets 15/16 of the limit.
const (
	DefaultBuckets = 15
	// MaxBuckets is the most that may be configured.
	MaxBuckets = 60
)

// Sliding counts in Buckets of equal length, and the oldest of them in full although the window has left it in part. So no
// stretch of a period ever holds more than the limit; the price is that what was counted counts for up to one bucket longer
// than a period.
type Sliding struct {
	// Buckets is how many a period is divided into.
	Buckets int
}

// Words is the length of a window's state: the number of the newest bucket, and the counts of it and of those before it.
func (s Sliding) Words() int { return 2 + s.Buckets + 1 }

// Width is the length of a bucket in nanoseconds, rounded up.
func (s Sliding) Width(w Window) int64 {
	return (int64(w.Period) + int64(s.Buckets) - 1) / int64(s.Buckets)
}

// Check implements Algorithm.
func (s Sliding) Check(words []uint32, w Window, now, cost int64) Verdict {
	width := s.Width(w)
	epoch := advance(words, now/width)
	counts := words[2:]
	var used int64
	for _, c := range counts {
		used += int64(c)
	}
	v := Verdict{Room: max(w.Limit-used, 0), Fits: used+cost <= w.Limit}
	v.Reset = leaves(counts, epoch, width, now, 1)
	switch {
	case v.Fits:
	case cost > w.Limit:
		v.Retry = Never
	default:
		v.Retry = leaves(counts, epoch, width, now, used+cost-w.Limit)
	}
	return v
}

// Add implements Algorithm.
func (s Sliding) Add(words []uint32, w Window, _, cost int64) int64 {
	epoch, counts := get64(words), words[2:]
	c := &counts[epoch%int64(len(counts))]
	*c = fill(*c, w, cost)
	return epoch
}

// Give implements Algorithm.
func (s Sliding) Give(words []uint32, w Window, now, receipt, cost int64) {
	epoch := advance(words, now/s.Width(w))
	counts := words[2:]
	n := int64(len(counts))
	if receipt > epoch || receipt <= epoch-n {
		return
	}
	c := &counts[receipt%n]
	*c = uint32(max(int64(*c)-cost, 0))
}

// fill adds a cost to a count, up to the limit. What is there already under a higher limit stays: one key may have several
// rules.
func fill(count uint32, w Window, cost int64) uint32 {
	return max(count, uint32(min(int64(count)+cost, w.Limit)))
}

// advance clears the buckets that began since the state was last looked at, and returns the newest bucket's number. It is not
// before the one of then: a goroutine may have read the clock earlier than the one before it.
func advance(words []uint32, epoch int64) int64 {
	last, counts := get64(words), words[2:]
	n := int64(len(counts))
	switch {
	case epoch <= last:
		return last
	case epoch-last >= n:
		clear(counts)
	default:
		for e := last + 1; e <= epoch; e++ {
			counts[e%n] = 0
		}
	}
	put64(words, epoch)
	return epoch
}

// leaves returns how long until at least amount of what is counted has left the window.
func leaves(counts []uint32, epoch, width, now, amount int64) time.Duration {
	n := int64(len(counts))
	var freed int64
	oldest := max(epoch-n+1, 0)
	slot := int(oldest % n) // goes along with e: fifteen divisions cost more than all the rest
	for e := oldest; e < epoch; e++ {
		if freed += int64(counts[slot]); freed >= amount {
			return time.Duration((e+n)*width - now)
		}
		if slot++; slot == len(counts) {
			slot = 0
		}
	}
	return time.Duration((epoch+n)*width - now)
}
