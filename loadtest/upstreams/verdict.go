// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// verdict is a promised figure and what was measured.
type verdict struct {
	promise  string
	limit    string
	measured float64 // NaN if it was not measured
	met      bool
}

// The figures that the project promises for least_response_time, and for the cost of its policies.
const (
	slowP99Ratio   = 0.65
	stallP999Ratio = 0.35
	outageErrors   = 10
	costRatio      = 1.03
)

// judge checks what was asked for: a scenario or a policy that the command line left out is not missed, one that could
// not be measured is.
func judge(s settings, cells []cell) []verdict {
	asked := func(name string, contenders ...string) bool {
		for _, wanted := range contenders {
			if !slices.ContainsFunc(s.contenders, func(c contender) bool { return c.name == wanted }) {
				return false
			}
		}
		return slices.ContainsFunc(s.scenarios, func(c scenario) bool { return c.name == name })
	}
	var all []verdict
	if asked(slow, leastTime, leastConn) {
		r := ratio(cells, slow, leastTime, leastConn, p99)
		all = append(all, verdict{"one slow: p99 of least_response_time to Caddy least_conn", atMost(slowP99Ratio), r, r <= slowP99Ratio})
	}
	if asked(blackHole, leastTime) {
		worst := most(collect(cells, blackHole, leastTime, failures))
		all = append(all, verdict{"black hole: errors of least_response_time, the worst outage", atMost(outageErrors), worst, worst <= outageErrors})
	}
	// A short run has one stall and so few requests that p99.9 is one of those caught when it begins, for every policy.
	if asked(stalls, leastTime, leastConn) && !s.short {
		r := ratio(cells, stalls, leastTime, leastConn, p999)
		all = append(all, verdict{"stalls: p99.9 of least_response_time to Caddy least_conn", atMost(stallP999Ratio), r, r <= stallP999Ratio})
	}
	return all
}

func p99(f figures) float64      { return f.p99 }
func p999(f figures) float64     { return f.p999 }
func failures(f figures) float64 { return float64(f.errors) }

// most is NaN for no values.
func most(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Max(values)
}

func atMost(limit float64) string { return fmt.Sprintf("<= %g", limit) }

// judgeCost wants every policy within costRatio of least_conn, or as near to it as least_conn comes to itself.
func judgeCost(contenders []contender, blocks []block) (spread float64, all []verdict) {
	for _, r := range ratios(blocks, again) {
		spread = max(spread, math.Abs(r-1))
	}
	limit := max(costRatio, 1+spread)
	for _, c := range contenders {
		if c.name == leastConn || c.name == again {
			continue
		}
		r := median(ratios(blocks, c.name))
		all = append(all, verdict{"CPU a request to least_conn: " + c.title, fmt.Sprintf("<= %.3f", limit), r, r <= limit})
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

// allMet is false for what was not measured.
func allMet(all []verdict) bool {
	return !slices.ContainsFunc(all, func(v verdict) bool { return !v.met })
}

// verdicts is the table of promised figures.
func verdicts(all []verdict) string {
	if len(all) == 0 {
		return "No promised figure belongs to what was measured.\n"
	}
	var text strings.Builder
	text.WriteString(row("promised", "limit", "measured", "") + row("---", "---:", "---:", "---"))
	for _, v := range all {
		word, measured := "missed", number(v.measured, 3)
		if v.met {
			word = "met"
		}
		if math.IsNaN(v.measured) {
			word, measured = "not measured", "-"
		}
		text.WriteString(row(v.promise, v.limit, measured, word))
	}
	return text.String()
}
