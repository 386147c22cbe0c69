// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"math"
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
		if got := Percentile(upTo(test.n), test.p); got != test.want {
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
		if got := Median(test.values); got != test.want {
			t.Errorf("median of %v is %g, want %g", test.values, got, test.want)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %g", got)
	}
}

func TestNumber(t *testing.T) {
	for _, test := range []struct {
		value    float64
		decimals int
		want     string
	}{
		{1.26, 1, "1.3"}, {0, 0, "0"}, {math.NaN(), 2, "-"}, {math.Inf(1), 2, "-"},
	} {
		if got := Number(test.value, test.decimals); got != test.want {
			t.Errorf("Number(%g, %d) is %q, want %q", test.value, test.decimals, got, test.want)
		}
	}
}
