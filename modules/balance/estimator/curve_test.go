// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"testing"
)

func TestLevels(t *testing.T) {
	for l := range levels {
		q := int64(levelLoad(l))
		if got := level(q); got != l {
			t.Errorf("level(%d) = %d, want %d", q, got, l)
		}
		if l > 0 {
			if got := level(q - 1); got != l-1 {
				t.Errorf("level(%d) = %d, want %d", q-1, got, l-1)
			}
		}
	}
	if got := level(math.MaxInt64); got != levels-1 {
		t.Errorf("level of everything = %d", got)
	}
	if got := level(-3); got != 0 {
		t.Errorf("level(-3) = %d", got)
	}
}

// fill returns a curve with n observations of each latency at each level.
func fill(n int, latencies map[int]float64) *curve {
	c := new(curve)
	for range n {
		for l := range levels {
			if x, ok := latencies[l]; ok {
				c.add(l, x)
			}
		}
	}
	return c
}

func TestExpected(t *testing.T) {
	for _, test := range []struct {
		name  string
		curve *curve
		pool  float64
		want  map[int]float64 // by level
	}{
		{"nothing known: the pool's", new(curve), 10, map[int]float64{0: 10}},
		{"by level", fill(1000, map[int]float64{0: 10, 4: 20, 6: 40}), 20, map[int]float64{0: 10, 4: 20, 6: 36.7}},
		{"never falling with load", fill(1000, map[int]float64{0: 30, 1: 10}), 20, map[int]float64{0: 19, 1: 19}},
		{"unknown above: by a square root", fill(1000, map[int]float64{0: 10}), 10, map[int]float64{1: 10 * math.Sqrt2, 3: 20}},
		{"unknown between: not above the next", fill(1000, map[int]float64{0: 10, 3: 12}), 11, map[int]float64{1: 11.8, 2: 11.8}},
		{"unknown below: as the lowest", fill(1000, map[int]float64{6: 30}), 30, map[int]float64{0: 30}},
		{"one slow answer leans to the pool's", fill(1, map[int]float64{0: 1000}), 10, map[int]float64{0: 15.2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var known, got [levels]float64
			n := test.curve.expected(test.curve.typical(test.pool), &known)
			var p published
			p.set(0, 0, 0, known[:n])
			for l := range got {
				got[l] = p.at(l)
			}
			for l, want := range test.want {
				if math.Abs(got[l]-want) > .03*want {
					t.Errorf("level %d: %.2f, want %.2f", l, got[l], want)
				}
			}
			for l := 1; l < levels; l++ {
				if got[l] < got[l-1] {
					t.Errorf("level %d: %.2f is below level %d: %.2f", l, got[l], l-1, got[l-1])
				}
			}
		})
	}
}

func TestKnowledgeFadesToThePools(t *testing.T) {
	c := fill(300, map[int]float64{0: 100e6})
	if got := c.typical(10e6); got < 90e6 {
		t.Errorf("just now: %.0f ms, want about 100", got/1e6)
	}
	c.fade(30e9, 5e9)
	if got := c.typical(10e6); got > 15e6 {
		t.Errorf("after 30 s: %.0f ms, want about the pool's 10", got/1e6)
	}
}

func TestIdleIsRememberedUnderLoad(t *testing.T) {
	var i idle
	i.learn(12, None, 1) // a stopgap
	i.learn(10, 2, 2)
	i.learn(40, 8, 3) // busier: its queues are not its nature
	if i.value != 10 {
		t.Errorf("after load: %v, want 10", i.value)
	}
	for range 500 {
		i.learn(20, 1, 4)
	}
	if math.Abs(i.value-20) > .1 {
		t.Errorf("after idleness at 20: %v", i.value)
	}
	i.learn(40, 8, 5+idleMemory)
	if i.value != 40 {
		t.Errorf("after long without: %v, want 40", i.value)
	}
}

func TestCancellationsAreOnlyALowerBound(t *testing.T) {
	b := newBench(t, 1, Params{}, LeastResponseTime)
	b.warm(300, 10*ms)
	before := b.upstream(0).Snapshot(b.now)
	for range 300 {
		b.answer(0, ms, Canceled)
	}
	after := b.upstream(0).Snapshot(b.now)
	if math.Abs(after.Typical-before.Typical) > 1e-4 || after.FailureRatio != 0 || after.Canceled != 300 {
		t.Errorf("quick cancellations changed %+v to %+v", before, after)
	}
	for range 300 {
		b.answer(0, 200*ms, Canceled)
	}
	if raised := b.upstream(0).Snapshot(b.now); raised.Typical < .05 {
		t.Errorf("cancellations after 200 ms left the typical latency at %v s", raised.Typical)
	}
}
