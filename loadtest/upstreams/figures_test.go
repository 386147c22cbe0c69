// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

func TestSummarize(t *testing.T) {
	samples := make([]lab.Sample, 0, 1000)
	for i := range 1000 {
		samples = append(samples, lab.Sample{Latency: time.Duration(1000-i) * time.Millisecond, Failed: i < 3})
	}
	samples[0].Latency++ // more than half a stall
	samples[0].Lag = lab.LateAfter
	samples[1].Lag = lab.LateAfter + 1
	for i := 989; i < 1000; i++ { // one more than a hundredth
		samples[i].Lag = 2 * time.Millisecond
	}
	got := summarize(samples)
	if got.requests != 1000 || got.errors != 3 || got.caught != 1 || got.late != 0.001 {
		t.Errorf("%d requests, %d errors, %g late; want 1000, 3, 0.001", got.requests, got.errors, got.late)
	}
	if math.Abs(got.mean-500.5) > 1e-3 || got.p99 != 990 || got.p999 != 999 {
		t.Errorf("mean %g, p99 %g, p99.9 %g; want 500.5, 990, 999", got.mean, got.p99, got.p999)
	}
	if got.lag != 2 || !got.valid() {
		t.Errorf("lag %g, valid %t; want 2, true", got.lag, got.valid())
	}
	if !math.IsNaN(got.cpu) {
		t.Errorf("CPU is %g before it was measured", got.cpu)
	}
	if got := summarize(nil); got.requests != 0 || got.errors != 0 {
		t.Errorf("no samples gave %+v", got)
	}
}

func TestCollectLeavesOutWhatTellsOfTheGenerator(t *testing.T) {
	cells := []cell{
		{slow, leastTime, 0, figures{p99: 9000, lag: mostLag + 0.1}},
		{slow, leastTime, 0, figures{p99: 120, lag: mostLag}},
		{slow, leastConn, 0, figures{p99: 1}},
		{stalls, leastTime, 0, figures{p99: 2}},
		{slow, leastTime, 1, figures{p99: 130}},
	}
	if got, want := collect(cells, slow, leastTime, p99), []float64{120, 130}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The ratio of the medians, 20/30, would compare one round with another.
func TestRatioComparesWithinARound(t *testing.T) {
	of := func(scenario, contender string, round int, p99 float64) cell {
		return cell{scenario, contender, round, figures{p99: p99}}
	}
	cells := []cell{
		of(slow, leastTime, 0, 10), of(slow, leastConn, 0, 20),
		of(slow, leastConn, 1, 100), of(slow, leastTime, 1, 50),
		of(slow, leastTime, 2, 20), of(slow, leastConn, 2, 30),
		of(slow, leastTime, 3, 1), // its base was not measured
		{slow, leastTime, 4, figures{p99: 1000}},
		{slow, leastConn, 4, figures{p99: 1, lag: mostLag + 1}},
		of(stalls, leastConn, 0, 1000),
	}
	if got := ratio(cells, slow, leastTime, leastConn, p99); got != 0.5 {
		t.Errorf("ratio is %g, want 0.5", got)
	}
	if got := ratio(cells, stalls, leastTime, leastConn, p99); !math.IsNaN(got) {
		t.Errorf("ratio is %g with nothing in common", got)
	}
}
