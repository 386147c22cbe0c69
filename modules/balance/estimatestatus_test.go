// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

func TestStatusInWords(t *testing.T) {
	well := EstimateStatus{Snapshot: estimator.Snapshot{Ramp: 1, Expected: .0312, FailureRatio: .004}}
	warming := EstimateStatus{Snapshot: estimator.Snapshot{Ramp: .4, Expected: .02}}
	ejected := EstimateStatus{Snapshot: estimator.Snapshot{
		Ejected: true, Reason: "failed_in_a_row", NextProbe: 3210 * time.Millisecond, FailureRatio: .148,
	}}
	for _, c := range []struct {
		status                   Status
		state, response, failing string
	}{
		{Status{}, "open", "-", "-"},
		{Status{Drained: true, Estimates: []EstimateStatus{ejected}}, "drained", "-", "14.8%"},
		{Status{Estimates: []EstimateStatus{well}}, "open", "31.2ms", "0.4%"},
		{Status{Estimates: []EstimateStatus{warming, well}}, "ramp 40%", "31.2ms", "0.4%"},
		{Status{Estimates: []EstimateStatus{warming, ejected}}, "ejected (failed_in_a_row), probe in 3.2s", "20ms", "14.8%"},
	} {
		if c.status.state() != c.state || c.status.response() != c.response || c.status.failing() != c.failing {
			t.Errorf("%q, %q, %q, want %q, %q, %q", c.status.state(), c.status.response(), c.status.failing(), c.state, c.response, c.failing)
		}
	}
}

// Counters must not go down when a dynamic upstream is forgotten, nor when the last config with the policy is gone.
func TestForgottenEjectionsStayCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		b := &book{registry: r, epoch: time.Now(), params: estimator.Params{EjectAfter: 1}}
		u := r.get("a:1")
		candidates := []estimator.Candidate{{Upstream: u.estimate(b)}, {Upstream: estimator.New(b.params)}}
		chooser := estimator.NewChooser(b.params, estimator.LeastResponseTime, nil)
		for range 100 {
			var a estimator.Attempt
			candidates[0].Upstream.Begin(&a, b.now())
			a.Headers(b.now(), true)
			a.Done(b.now(), estimator.Answered)
			time.Sleep(200 * time.Millisecond)
			chooser.Choose(b.now(), candidates, estimator.Request{})
		}
		u.copies.Add(7)
		check := func(when string, want estimateTotals) {
			t.Helper()
			if sum := r.estimateTotals()[dynamicLabel]; sum == nil || *sum != want {
				t.Fatalf("%s: %+v, want %+v", when, sum, want)
			}
		}
		check("at first", estimateTotals{ejected: 1, ejections: 1, copies: 7})
		if err := b.Destruct(); err != nil {
			t.Fatal(err)
		}
		check("without the policy", estimateTotals{ejections: 1, copies: 7})
		time.Sleep(idleLimit + sweepInterval)
		r.get("b:1")
		if _, known := r.find("a:1"); known {
			t.Fatal("a:1 is not forgotten")
		}
		check("forgotten", estimateTotals{ejections: 1, copies: 7})
	})
}
