// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	upTo := func(n int) []time.Duration {
		values := make([]time.Duration, n)
		for i := range values {
			values[i] = time.Duration(i + 1)
		}
		return values
	}
	for _, test := range []struct {
		n    int
		p    float64
		want time.Duration
	}{
		{1, 0.999, 1},
		{100, 0.5, 50},
		{100, 0.99, 99},
		{101, 0.99, 100},
		{1000, 0.999, 999},
		{5940, 0.999, 5935},
		{10, 0.99, 10},
		{10, 0, 1},
	} {
		if got := percentile(upTo(test.n), test.p); got != test.want {
			t.Errorf("percentile %g of 1..%d is %d, want %d", test.p, test.n, got, test.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %g, want %g", test.values, got, test.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %g", got)
	}
}

func TestSummarize(t *testing.T) {
	samples := make([]sample, 0, 1000)
	for i := range 1000 {
		samples = append(samples, sample{latency: time.Duration(1000-i) * time.Millisecond, failed: i < 3})
	}
	samples[0].latency++ // more than half a stall
	samples[0].lag = lateAfter
	samples[1].lag = lateAfter + 1
	for i := 989; i < 1000; i++ { // one more than a hundredth
		samples[i].lag = 2 * time.Millisecond
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
