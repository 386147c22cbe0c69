// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// One client alone, whose next request waits for the last answer, sees nothing queue. Identical upstreams share its requests,
// from the first ones on, which tell how long it takes to connect.
func TestSequentialRequestsAreShared(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		for seed := range uint64(5) {
			r := rand.New(rand.NewPCG(seed, 7))
			b := newBench(t, n, Params{}, LeastResponseTime)
			b.chooser.random = r.Uint64
			connected := make([]bool, n)
			latency := func(i int) int64 {
				if !connected[i] {
					connected[i] = true
					return 2*ms + int64(r.Float64()*float64(3*ms))
				}
				return int64(300e3 * math.Exp(.6*r.NormFloat64()))
			}
			for _, part := range []struct {
				requests int
				least    float64 // of the fair share
			}{{120, .3}, {500, .5}, {5000, .8}} {
				got := b.shares(part.requests, latency)
				t.Logf("seed %d: %d requests to %d upstreams: %.2f", seed, part.requests, n, got)
				if slices.Min(got) < part.least/float64(n) {
					t.Errorf("seed %d: %d requests to %d upstreams are shared as %.2f", seed, part.requests, n, got)
				}
			}
		}
	}
}
