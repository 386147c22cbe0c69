// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import "fmt"

// Case is a scenario with what a policy must reach in it.
type Case struct {
	Scenario
	// About says what the scenario shows.
	About string
	// Figures are the promises; none where the scenario is only reported.
	Figures []Figure
}

// Figure is one promise about one policy.
type Figure struct {
	// What names the figure, for people.
	What string
	// Policy is the name of the policy that promises it.
	Policy string
	// Of takes the figure from a result.
	Of func(Result) float64
	// Against is the policy whose figure is multiplied with Limit; empty means that Limit is the bound itself.
	Against string
	// Limit is the bound or the factor.
	Limit float64
	// AtLeast means that the bound is the least allowed value; otherwise it is the largest.
	AtLeast bool
	// Control is a policy that must miss the figure, or else the figure shows nothing.
	Control string
}

// Verdict is a checked figure.
type Verdict struct {
	// Got is the value, Bound what it was held against.
	Got, Bound float64
	// OK says that the promise is kept.
	OK bool
}

// Check holds policy's result against the figure; results are by policy.
func (f Figure) Check(policy string, results map[string]Result) (Verdict, error) {
	r, ok := results[policy]
	if !ok {
		return Verdict{}, fmt.Errorf("figure %q: no result of %q", f.What, policy)
	}
	v := Verdict{Got: f.Of(r), Bound: f.Limit}
	if f.Against != "" {
		base, ok := results[f.Against]
		if !ok {
			return Verdict{}, fmt.Errorf("figure %q: no result of %q", f.What, f.Against)
		}
		v.Bound *= f.Of(base)
	}
	if f.AtLeast {
		v.OK = v.Got >= v.Bound
	} else {
		v.OK = v.Got <= v.Bound
	}
	return v, nil
}

func mean(r Result) float64        { return r.Mean }
func p99(r Result) float64         { return r.P99 }
func p999(r Result) float64        { return r.P999 }
func failed(r Result) float64      { return r.Failed }
func refused(r Result) float64     { return r.Refused }
func leastShare(r Result) float64  { return r.LeastShare }
func mostShare(r Result) float64   { return r.MostShare }
func mostEjected(r Result) float64 { return r.MostEjected }

func share(server int) func(Result) float64 {
	return func(r Result) float64 { return r.Share[server] }
}

// errorsOf is the largest number of errors that one server gave to clients.
func errorsOf(r Result) float64 {
	most := 0.
	for _, e := range r.Errors {
		most = max(most, e)
	}
	return most
}
