// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "testing"

func (b *bench) admit(r Request) ([]bool, int, Choice) {
	b.now += ms
	admit := make([]bool, len(b.candidates))
	n, choice := b.chooser.Admit(b.now, b.candidates, r, admit)
	return admit, n, choice
}

func TestGuardLeavesOutTheEjected(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	if _, n, _ := b.admit(Request{}); n != 4 {
		t.Errorf("of four sound ones %d are admitted", n)
	}
	for range 5 {
		b.answer(3, ms, Failed)
	}
	admit, n, _ := b.admit(Request{})
	if n != 3 || admit[3] {
		t.Errorf("after five failures of the last: %v", admit)
	}
	b.now += sec + ms
	if _, _, choice := b.admit(Request{Copyable: true}); choice.Copy != 3 || choice.To != None {
		t.Errorf("the probe is due: %+v, want a copy to 3", choice)
	}
	b.now += 20 * sec
	if _, _, choice := b.admit(Request{}); choice.To != 3 || choice.Why != Probed {
		t.Errorf("the probe is due: %+v, want the request itself to go to 3", choice)
	}
}

func TestGuardAlwaysAdmitsSomebody(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7} {
		b := newBench(t, n, Params{}, LeastResponseTime)
		for range 300 {
			for i := range b.candidates {
				b.answer(i, ms, Failed)
				admit, got, choice := b.admit(Request{Retry: true})
				count := 0
				for _, a := range admit {
					if a {
						count++
					}
				}
				if got != count || got == 0 || choice.To != None {
					t.Fatalf("of %d that all fail: %d admitted, %v, %+v", n, got, admit, choice)
				}
				if count*2 < n {
					t.Fatalf("of %d that all fail only %d are admitted", n, count)
				}
			}
		}
	}
}

func TestGuardRampsTheRecovered(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.upstream(0).StartRamp(b.now)
	part := func() float64 {
		in := 0
		for range 2000 {
			admit := make([]bool, 3)
			b.chooser.Admit(b.now, b.candidates, Request{}, admit)
			if admit[0] {
				in++
			}
		}
		return float64(in) / 2000
	}
	b.now += 3 * sec
	if got := part(); got < .05 || got > .2 {
		t.Errorf("after a tenth of its ramp it takes part in %.2f of the choices", got)
	}
	b.now += 12 * sec
	if got := part(); got < .4 || got > .6 {
		t.Errorf("after half of its ramp it takes part in %.2f of the choices", got)
	}
	b.now += 20 * sec
	if got := part(); got != 1 {
		t.Errorf("after its ramp it takes part in %.2f of the choices", got)
	}
}

// Between two looks at the flags everybody may be ejected.
func TestAdmitAnyway(t *testing.T) {
	b := newBench(t, 2, Params{}, LeastResponseTime)
	for _, c := range b.candidates {
		c.Upstream.setFlag(ejected)
	}
	for _, sound := range []bool{true, false} {
		if n := admitAnyway(b.candidates, make([]bool, 2), sound); n != 2 {
			t.Errorf("%d are admitted, want 2", n)
		}
	}
}
