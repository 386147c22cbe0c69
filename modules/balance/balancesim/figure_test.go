// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// testSeed is neither a tuning nor a held-out seed.
const testSeed = 11

// TestFigures is the short form of the simulator's table: one seed, and shorter runs, save that of the stalls: in a short run
// its p99.9 tells of a hundred requests, and differs by a hundredth between seeds. Every figure must be kept by the policy
// that promises it and missed by its control: a figure that everybody keeps shows nothing.
func TestFigures(t *testing.T) {
	v := Tuning()
	v.Length, v.FaultAt = 40*time.Second, 10*time.Second
	all := append(append(Rivals(), Ours(estimator.Params{})...), first())
	for _, c := range Standard(v) {
		if len(c.Figures) == 0 {
			continue
		}
		if c.Name == "2 s stalls" {
			c.Duration = Duration(Tuning().Length)
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			needed := func(r Rival) bool {
				return slices.ContainsFunc(c.Figures, func(f Figure) bool {
					return r.Name == f.Policy || r.Name == f.Against || r.Name == f.Control
				})
			}
			rivals := slices.DeleteFunc(slices.Clone(all), func(r Rival) bool { return !needed(r) })
			results, err := Evaluate(c, rivals, []uint64{testSeed})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range c.Figures {
				checkFigure(t, f, results)
			}
		})
	}
}

func checkFigure(t *testing.T, f Figure, results map[string]Result) {
	t.Helper()
	got, err := f.Check(f.Policy, results)
	if err != nil {
		t.Fatal(err)
	}
	if !got.OK {
		t.Errorf("%s: %s is %.5g, bound %.5g", f.Policy, f.What, got.Got, got.Bound)
	}
	control, err := f.Check(f.Control, results)
	if err != nil {
		t.Fatal(err)
	}
	if control.OK {
		t.Errorf("%s keeps %q too (%.5g, bound %.5g): the figure shows nothing", f.Control, f.What, control.Got, control.Bound)
	}
}
