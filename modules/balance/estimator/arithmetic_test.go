// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What follows are the formulas of a choice as one would write them down. The quick ones must choose the same.

func plainBest(s *scan, band float64) int {
	least, found := float32(0), false
	for i := range s.n {
		if slot := &s.slots[i]; slot.state == usable && (!found || slot.score < least) {
			least, found = slot.score, true
		}
	}
	best := None
	for i := range s.n {
		slot := &s.slots[i]
		if slot.state == usable && slot.score <= least*float32(band) && (best == None || slot.rank < s.slots[best].rank) {
			best = i
		}
	}
	return best
}

func plainPrice(p *published, l int, queueing float64) float64 {
	top := int(p.top.Load())
	expected := loadFloat(&p.expected[min(l, top)])
	if l > top {
		expected *= math.Sqrt((levelLoad(l) + 1) / (levelLoad(top) + 1))
	}
	return expected + queueing*max(0, expected-loadFloat(&p.idle)) + loadFloat(&p.surcharge)
}

func TestBestIsThePlainOne(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	scores := []float32{0, math.SmallestNonzeroFloat32, 1, 1.5, math.Nextafter32(1.5, 2), 3e6, 1e38, math.MaxFloat32, float32(math.Inf(1))}
	states := []slotState{usable, usable, usable, held, far, out}
	for range 200_000 {
		s := scan{n: 1 + r.IntN(8), slots: make([]slot, 8)}
		alike := r.IntN(2) == 0
		for i := range s.slots {
			s.slots[i] = slot{score: scores[r.IntN(len(scores))], rank: float32(r.IntN(4)), state: states[r.IntN(len(states))]}
			if alike {
				s.slots[i].score, s.slots[i].rank = 5e6*(1+r.Float32()), 1+r.Float32()
			}
		}
		for _, band := range []float64{1, 1.5} {
			if got, want := s.best(band), plainBest(&s, band); got != want {
				t.Fatalf("band %g: slot %d, plainly %d of %+v", band, got, want, s.slots[:s.n])
			}
		}
	}
}

func TestPriceIsThePlainOne(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 50_000 {
		var p published
		expected := make([]float64, 1+r.IntN(levels))
		for i := range expected {
			expected[i] = 1e6 * math.Exp(3*r.NormFloat64())
		}
		surcharge := float64(r.IntN(2)) * 1e8 * r.Float64()
		p.set(1e6, 2e6*r.Float64(), surcharge, expected)
		l, queueing := r.IntN(levels), float64(r.IntN(3))
		got, want := p.price(p.at(l), queueing), plainPrice(&p, l, queueing)
		if math.Abs(got-want) > 1e-14*want {
			t.Fatalf("level %d of %d: %v, plainly %v", l, len(expected), got, want)
		}
	}
}

// Everybody is drawn as often to be looked at, and that draw says nothing about the next one, which decides.
func TestExplorationIsEven(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, n := range []int{2, 3, 5, 7, 64} {
		c := NewChooser(Params{Explore: .2}, LeastResponseTime, r.Uint64)
		explored := make([]float64, n)
		const draws = 100_000
		for range draws {
			s := scan{n: n, slots: make([]slot, n), random: r.Uint64()}
			for i := range s.slots {
				s.slots[i].ramp = 1
			}
			if i := c.explore(&s); i != None {
				explored[i]++
			}
		}
		want := .2 * draws / float64(n)
		for i, got := range explored {
			if math.Abs(got-want) > 5*math.Sqrt(want) {
				t.Errorf("slot %d of %d: explored %v times, want %v", i, n, got, want)
			}
		}
	}
}
