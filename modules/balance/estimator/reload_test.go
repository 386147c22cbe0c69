// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"testing"
	"time"
)

// A config that is loaded anew brings a new chooser, which must take what it adds for new and what was there for known.
func TestNewChooserOfAKnownPool(t *testing.T) {
	now := int64(time.Second)
	old := []Candidate{{Upstream: New(Params{})}, {Upstream: New(Params{})}}
	NewChooser(Params{}, LeastResponseTime, nil).Choose(now, old, Request{})
	for _, c := range old {
		if c.Upstream.RampFraction(now) != 1 {
			t.Fatal("in a new pool, nobody ramps")
		}
	}
	added := append(old, Candidate{Upstream: New(Params{})})
	NewChooser(Params{}, LeastResponseTime, nil).Choose(now, added, Request{})
	if old[0].Upstream.RampFraction(now) != 1 || added[2].Upstream.RampFraction(now) != 0 {
		t.Fatal("the upstream that was added does not ramp, or those that were there do")
	}
}
