// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "testing"

// A ramp lets keys in one after another: who is in stays in.
func TestGuardRampsByKey(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.upstream(0).StartRamp(b.now)
	in := map[uint64]bool{}
	for step := range 10 {
		b.now += 3 * sec
		count := 0
		for key := uint64(1); key <= 2000; key++ {
			admit := make([]bool, 3)
			b.chooser.Admit(b.now, b.candidates, Request{Key: key}, admit)
			if in[key] && !admit[0] {
				t.Fatalf("step %d: key %d was let in, and is not any more", step, key)
			}
			if in[key] = admit[0]; admit[0] {
				count++
			}
		}
		want := 2000 * (step + 1) / 10
		if count < want-100 || count > want+100 {
			t.Errorf("after %d tenths of the ramp %d of 2000 keys are let in, want about %d", step+1, count, want)
		}
	}
}

// A request with a key is not sent to an upstream that its policy would not choose, not even to probe.
func TestGuardProbesByKey(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.eject(2)
	if _, _, choice := b.admit(Request{Key: 7}); choice.To != None {
		t.Errorf("no probe is due, but %+v", choice)
	}
	if b.chooser.ClaimProbe(b.now, b.upstream(2)) {
		t.Error("a probe was granted that is not due")
	}
	b.now += 20 * sec
	if _, _, choice := b.admit(Request{Key: 7, Copyable: true}); choice.Copy != 2 || choice.To != None {
		t.Errorf("%+v, want a copy", choice)
	}
	admit, n, choice := b.admit(Request{Key: 7})
	if n != 2 || admit[2] || choice.To != 2 || choice.Why != Due {
		t.Errorf("%v, %+v, want 2 to be due", admit, choice)
	}
	if _, _, choice := b.admit(Request{Key: 7, Retry: true}); choice.To != None {
		t.Errorf("a retry probes: %+v", choice)
	}
	if !b.chooser.ClaimProbe(b.now, b.upstream(2)) || b.chooser.ClaimProbe(b.now, b.upstream(2)) {
		t.Error("want the probe granted once")
	}
	if b.chooser.ClaimProbe(b.now, b.upstream(0)) {
		t.Error("a probe of a sound upstream was granted")
	}
}
