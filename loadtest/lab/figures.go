// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"math"
	"slices"
	"time"
)

// LateAfter is how long after its time a request may leave before it counts as late. A generator that lacks CPU
// measures itself.
const LateAfter = 5 * time.Millisecond

// Milliseconds is a duration as a figure.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Percentile is the nearest rank: the smallest value that a share p of all does not exceed. The values are in order.
func Percentile(ordered []time.Duration, p float64) time.Duration {
	rank := int(math.Ceil(p*float64(len(ordered)) - 1e-9)) // 0.999*1000 is a little more than 999 in floating point
	return ordered[min(max(rank, 1), len(ordered))-1]
}

// Median is NaN for no values, and the mean of the two in the middle of an even number.
func Median(values []float64) float64 {
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

// Most is NaN for no values.
func Most(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Max(values)
}

// Least is NaN for no values.
func Least(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Min(values)
}

// Turns deals times out to two in the order 0, 1, 1, 0.
func Turns(all []time.Duration) (due [2][]time.Duration) {
	for i, at := range all {
		of := (i%4 + 1) / 2 % 2
		due[of] = append(due[of], at)
	}
	return due
}
