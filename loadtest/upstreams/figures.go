// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"time"
)

// A generator that lacks CPU measures itself. A request counts as late if it leaves so much later than its time; a run in
// which one of a hundred left later than mostLag is not counted, and repeated at most maxRepeats times.
const (
	lateAfter  = 5 * time.Millisecond
	mostLag    = 40 // milliseconds: a third of the best p99
	maxRepeats = 2
)

// figures are what one run of one contender gave.
type figures struct {
	requests        int
	mean, p99, p999 float64 // milliseconds from the time at which a request should have been sent
	errors          int     // no answer within requestTimeout, or another status than 200
	caught          int     // answered only after stallLength/2: those that a stall held, and nothing else
	late            float64 // share of requests that were sent after lateAfter
	lag             float64 // milliseconds after its time that a request was sent, 99th percentile
	toIll           float64 // share of requests that reached the ill upstream, by the upstreams' own counters
	cpu             float64 // milliseconds of CPU a request, of the proxy's processes; NaN where that cannot be read
}

// summarize computes what the samples alone tell. Failures count as what their clients waited.
func summarize(samples []sample) figures {
	f := figures{requests: len(samples), cpu: math.NaN()}
	if len(samples) == 0 {
		return f
	}
	var latencies, lags []time.Duration
	var sum time.Duration
	for _, s := range samples {
		latencies, lags = append(latencies, s.latency), append(lags, s.lag)
		sum += s.latency
		if s.failed {
			f.errors++
		}
		if s.latency > stallLength/2 {
			f.caught++
		}
		if s.lag > lateAfter {
			f.late++
		}
	}
	slices.Sort(latencies)
	slices.Sort(lags)
	f.lag = milliseconds(percentile(lags, 0.99))
	f.late /= float64(len(samples))
	f.mean = milliseconds(sum) / float64(len(samples))
	f.p99 = milliseconds(percentile(latencies, 0.99))
	f.p999 = milliseconds(percentile(latencies, 0.999))
	return f
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile is the nearest rank: the smallest value that a share p of all does not exceed. The values are in order.
func percentile(ordered []time.Duration, p float64) time.Duration {
	rank := int(math.Ceil(p*float64(len(ordered)) - 1e-9)) // 0.999*1000 is a little more than 999 in floating point
	return ordered[min(max(rank, 1), len(ordered))-1]
}

// median is NaN for no values, and the mean of the two in the middle of an even number.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	ordered := slices.Sorted(slices.Values(values))
	middle := len(ordered) / 2
	if len(ordered)%2 == 1 {
		return ordered[middle]
	}
	return (ordered[middle-1] + ordered[middle]) / 2
}

// valid is false for a run that tells of the generator instead of the proxy.
func (f figures) valid() bool { return f.lag <= mostLag }

// cell is one contender's run in one scenario and round.
type cell struct {
	scenario, contender string
	round               int
	figures
}

// metric picks a figure.
type metric func(figures) float64

// collect returns a figure of every valid run, in the order of rounds.
func collect(cells []cell, scenario, contender string, m metric) []float64 {
	var values []float64
	for _, c := range cells {
		if c.valid() && c.scenario == scenario && c.contender == contender {
			values = append(values, m(c.figures))
		}
	}
	return values
}

// ratio is the median over the rounds of a figure divided by the base's in the same round, since a machine's moods last
// longer than a round. It is NaN if they have no round in common.
func ratio(cells []cell, scenario, contender, base string, m metric) float64 {
	bases := map[int]float64{}
	for _, c := range cells {
		if c.valid() && c.scenario == scenario && c.contender == base {
			bases[c.round] = m(c.figures)
		}
	}
	var ratios []float64
	for _, c := range cells {
		if of, ok := bases[c.round]; ok && c.valid() && c.scenario == scenario && c.contender == contender {
			ratios = append(ratios, m(c.figures)/of)
		}
	}
	return median(ratios)
}
