// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// The figures that the project promises for least_response_time, and for the cost of its policies.
const (
	slowP99Ratio   = 0.65
	stallP999Ratio = 0.35
	outageErrors   = 10
	costRatio      = 1.03
)

// judge checks what was asked for: a scenario or a policy that the command line left out is not missed, one that could
// not be measured is.
func judge(s settings, cells []cell) []lab.Verdict {
	asked := func(name string, contenders ...string) bool {
		for _, wanted := range contenders {
			if !slices.ContainsFunc(s.contenders, func(c contender) bool { return c.name == wanted }) {
				return false
			}
		}
		return slices.ContainsFunc(s.scenarios, func(c scenario) bool { return c.name == name })
	}
	var all []lab.Verdict
	if asked(slow, leastTime, leastConn) {
		r := ratio(cells, slow, leastTime, leastConn, p99)
		all = append(all, lab.Verdict{Promise: "one slow: p99 of least_response_time to Caddy least_conn", Limit: lab.AtMost(slowP99Ratio), Measured: r, Met: r <= slowP99Ratio})
	}
	if asked(blackHole, leastTime) {
		worst := lab.Most(collect(cells, blackHole, leastTime, failures))
		all = append(all, lab.Verdict{Promise: "black hole: errors of least_response_time, the worst outage", Limit: lab.AtMost(outageErrors), Measured: worst, Met: worst <= outageErrors})
	}
	// A short run has one stall and so few requests that p99.9 is one of those caught when it begins, for every policy.
	if asked(stalls, leastTime, leastConn) && !s.short {
		r := ratio(cells, stalls, leastTime, leastConn, p999)
		all = append(all, lab.Verdict{Promise: "stalls: p99.9 of least_response_time to Caddy least_conn", Limit: lab.AtMost(stallP999Ratio), Measured: r, Met: r <= stallP999Ratio})
	}
	return all
}

func p99(f figures) float64      { return f.p99 }
func p999(f figures) float64     { return f.p999 }
func failures(f figures) float64 { return float64(f.errors) }

// judgeCost wants every policy within costRatio of least_conn, or as near to it as least_conn comes to itself: medians of
// the rounds both.
func judgeCost(contenders []contender, blocks []block) (spread float64, all []lab.Verdict) {
	spread = math.Abs(lab.Median(ratios(blocks, again)) - 1)
	limit := max(costRatio, 1+spread)
	for _, c := range contenders {
		if c.name == leastConn || c.name == again {
			continue
		}
		r := lab.Median(ratios(blocks, c.name))
		all = append(all, lab.Verdict{Promise: "CPU a request to least_conn: " + c.title, Limit: fmt.Sprintf("<= %.3f", limit), Measured: r, Met: r <= limit})
	}
	return spread, all
}

func ratios(blocks []block, contender string) []float64 {
	var values []float64
	for _, b := range blocks {
		if b.contender == contender {
			values = append(values, b.ratio())
		}
	}
	return values
}
