// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// A run in which one request of a hundred left later than mostLag after its time is not counted, and repeated at most
// maxRepeats times.
const (
	mostLag    = 40 // milliseconds: a third of the best p99
	maxRepeats = 2
)

// figures are what one run of one contender gave.
type figures struct {
	requests        int
	mean, p99, p999 float64 // milliseconds from the time at which a request should have been sent
	errors          int     // no answer within lab.RequestTimeout, or another status than 200
	caught          int     // answered only after stallLength/2: those that a stall held, and nothing else
	late            float64 // share of requests that were sent after lab.LateAfter
	lag             float64 // milliseconds after its time that a request was sent, 99th percentile
	toIll           float64 // share of requests that reached the ill upstream, by the upstreams' own counters
	cpu             float64 // milliseconds of CPU a request, of the proxy's processes; NaN where that cannot be read
}

// summarize computes what the samples alone tell. Failures count as what their clients waited.
func summarize(samples []lab.Sample) figures {
	f := figures{requests: len(samples), cpu: math.NaN()}
	if len(samples) == 0 {
		return f
	}
	var latencies, lags []time.Duration
	var sum time.Duration
	for _, s := range samples {
		latencies, lags = append(latencies, s.Latency), append(lags, s.Lag)
		sum += s.Latency
		if s.Failed {
			f.errors++
		}
		if s.Latency > stallLength/2 {
			f.caught++
		}
		if s.Lag > lab.LateAfter {
			f.late++
		}
	}
	slices.Sort(latencies)
	slices.Sort(lags)
	f.lag = lab.Milliseconds(lab.Percentile(lags, 0.99))
	f.late /= float64(len(samples))
	f.mean = lab.Milliseconds(sum) / float64(len(samples))
	f.p99 = lab.Milliseconds(lab.Percentile(latencies, 0.99))
	f.p999 = lab.Milliseconds(lab.Percentile(latencies, 0.999))
	return f
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
	return lab.Median(ratios)
}
