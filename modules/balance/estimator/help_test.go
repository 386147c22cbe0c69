// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math/rand/v2"
	"testing"
	"time"
)

const (
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
)

// bench is a pool under test with a clock.
type bench struct {
	t          *testing.T
	now        int64
	chooser    *Chooser
	candidates []Candidate
}

func newBench(t *testing.T, n int, p Params, m Method) *bench {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	b := &bench{t: t, now: sec, chooser: NewChooser(p, m, r.Uint64)}
	for range n {
		b.candidates = append(b.candidates, Candidate{Upstream: New(p)})
	}
	return b
}

// answer lets upstream i take one request for latency, from now on; the clock moves on.
func (b *bench) answer(i int, latency int64, outcome Outcome) {
	var a Attempt
	b.candidates[i].Upstream.Begin(&a, b.now)
	b.now += latency
	if outcome != Canceled {
		a.Headers(b.now, outcome == Failed)
		outcome = Answered
	}
	a.Done(b.now, outcome)
}

// warm gives every upstream n answers of latency.
func (b *bench) warm(n int, latency int64) {
	for range n {
		for i := range b.candidates {
			b.answer(i, latency, Answered)
		}
	}
	b.choose(Request{})
}

func (b *bench) choose(r Request) Choice {
	b.now += ms
	return b.chooser.Choose(b.now, b.candidates, r)
}

// shares chooses n times, with every request answered after latency, and counts.
func (b *bench) shares(n int, latency func(i int) int64) []float64 {
	counts := make([]float64, len(b.candidates))
	for range n {
		c := b.choose(Request{})
		counts[c.To] += 1 / float64(n)
		b.answer(c.To, latency(c.To), Answered)
	}
	return counts
}

func (b *bench) upstream(i int) *Upstream { return b.candidates[i].Upstream }

// eject makes upstream i fail until it is out.
func (b *bench) eject(i int) {
	b.t.Helper()
	for range 20 {
		b.answer(i, ms, Failed)
		b.choose(Request{Retry: true})
		if b.upstream(i).Ejected() {
			return
		}
	}
	b.t.Fatalf("upstream %d is not ejected: %+v", i, b.upstream(i).Snapshot(b.now))
}
