// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package traces makes the traffic that limits are measured by, in virtual time, and finds the worst stretch of what was let
// through. Tests of the arithmetic and of stores share it.
package traces

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Counter says whether a request at a time passes. Times do not fall.
type Counter func(now time.Duration) bool

// Trace is traffic of one key.
type Trace struct {
	// Name says what it is like.
	Name string

	times func(r *rand.Rand) []time.Duration
}

// windows is how many periods a trace lasts.
const windows = 40

// begin is when a trace begins: not on a boundary of any bucket.
const begin = 1000*time.Hour + 12_345_678*time.Nanosecond

// Run sends the trace's requests and returns when those came that passed.
func (t Trace) Run(seed uint64, c Counter) (passed []time.Duration) {
	for _, at := range t.times(rand.New(rand.NewPCG(seed, 1))) {
		if c(at) {
			passed = append(passed, at)
		}
	}
	return passed
}

// All returns the six traces for a limit in a period: steady; Poisson at 1, 2 and 50 times the limit; bursts with pauses; and
// an adversary who sends a whole limit just before and just after every boundary a fixed window could have.
func All(limit int, period time.Duration) []Trace {
	poisson := func(times float64) func(r *rand.Rand) []time.Duration {
		return func(r *rand.Rand) (list []time.Duration) {
			mean := float64(period) / float64(limit) / times
			for at := begin; at < begin+windows*period; at += time.Duration(r.ExpFloat64() * mean) {
				list = append(list, at)
			}
			return list
		}
	}
	return []Trace{
		{"steady", func(r *rand.Rand) []time.Duration { return steady(r, limit, period) }},
		{"poisson 1x", poisson(1)},
		{"poisson 2x", poisson(2)},
		{"poisson 50x", poisson(50)},
		{"on/off", func(r *rand.Rand) []time.Duration { return onOff(r, limit, period) }},
		{"adversary", func(r *rand.Rand) []time.Duration { return adversary(r, limit, period) }},
	}
}

// steady sends 1.1 times the limit, evenly.
func steady(r *rand.Rand, limit int, period time.Duration) (list []time.Duration) {
	gap := period * 10 / time.Duration(11*limit)
	for at := begin + time.Duration(r.Int64N(int64(gap))); at < begin+windows*period; at += gap {
		list = append(list, at)
	}
	return list
}

// onOff sends bursts of up to twice the limit, with pauses of up to a period and a half.
func onOff(r *rand.Rand, limit int, period time.Duration) (list []time.Duration) {
	for at := begin; at < begin+windows*period; at += time.Duration(r.Int64N(int64(period * 3 / 2))) {
		for range 1 + r.IntN(2*limit) {
			list = append(list, at)
			at += time.Duration(r.Int64N(int64(period) / int64(20*limit)))
		}
	}
	return list
}

// adversary sends a whole limit just before and just after each boundary: of the period, and of fifteenths of it.
func adversary(r *rand.Rand, limit int, period time.Duration) (list []time.Duration) {
	bucket := period / 15
	for b := begin.Truncate(bucket) + bucket; b < begin+windows*period; b += bucket {
		if b%period != 0 && r.IntN(3) > 0 {
			continue
		}
		for i := range limit {
			list = append(list, b-time.Millisecond+time.Duration(i)*time.Microsecond)
		}
		for i := range limit {
			list = append(list, b+time.Duration(i)*time.Microsecond)
		}
	}
	slices.Sort(list)
	return list
}

// WorstOver returns by how much the worst stretch of a period exceeds the limit, or 0: the most that passed within any
// half-open stretch of that length, less the limit.
func WorstOver(passed []time.Duration, limit int, period time.Duration) int {
	worst, first := 0, 0
	for i, at := range passed {
		for passed[first] <= at-period {
			first++
		}
		worst = max(worst, i-first+1-limit)
	}
	return worst
}
