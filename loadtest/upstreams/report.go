// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// liveReport is the whole Markdown of the live comparison, and whether every promised figure was met.
func liveReport(b *bench, cells []cell, whole bool, loadBefore string) (text string, met bool) {
	warm, count := b.settings.times()
	var out strings.Builder
	out.WriteString("# Upstream selection, live\n\n")
	fmt.Fprintf(&out, "Five upstreams on loopback, four workers each, %s; %d requests a second in an open loop, %s of\n"+
		"warm-up and %s counted, a new proxy for each run; medians of %d rounds, ratios within a round. Latency counts from\n"+
		"the time at which a request should have been sent.\n\n", wellLatency, liveRate, warm, count, b.settings.rounds)
	out.WriteString(b.origin(whole, loadBefore).String() + generatorNote(cells) + "\n")
	all := judge(b.settings, cells)
	out.WriteString(lab.Verdicts(all))
	for _, s := range b.settings.scenarios {
		fmt.Fprintf(&out, "\n## %s\n\n", s.title)
		out.WriteString(scenarioTable(s, b.contenders, cells))
	}
	out.WriteString("\n## Each run\n\n" + rawTable(cells))
	return out.String(), whole && lab.AllMet(all)
}

// generatorNote says how far the generator kept up, since all figures hang on that.
func generatorNote(cells []cell) string {
	behind := 0
	for _, c := range cells {
		if !c.valid() {
			behind++
		}
	}
	return fmt.Sprintf("- Generator: in %d of %d runs it sent one request of a hundred over %d ms late, for want of CPU. These are not\n"+
		"  counted; each was repeated at most %d times.\n", behind, len(cells), mostLag, maxRepeats)
}

// scenarioTable has a row a contender: medians, and the ratios to Caddy least_conn.
func scenarioTable(s scenario, contenders []contender, cells []cell) string {
	var out strings.Builder
	out.WriteString(lab.Row("", "mean ms", "p99 ms", "p99.9 ms", "p99 ratio", "p99.9 ratio", "over 1 s", "to the ill one", "errors",
		"CPU ms a request", "sent late"))
	out.WriteString(lab.Row("---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:"))
	for _, c := range contenders {
		middle := func(m metric) float64 { return lab.Median(collect(cells, s.name, c.name, m)) }
		out.WriteString(lab.Row(
			c.title,
			lab.Number(middle(func(f figures) float64 { return f.mean }), 1),
			lab.Number(middle(p99), 0),
			lab.Number(middle(p999), 0),
			lab.Number(ratio(cells, s.name, c.name, leastConn, p99), 2),
			lab.Number(ratio(cells, s.name, c.name, leastConn, p999), 2),
			lab.Number(middle(func(f figures) float64 { return float64(f.caught) }), 0),
			lab.Number(100*middle(func(f figures) float64 { return f.toIll }), 2)+" %",
			lab.Number(middle(failures), 0)+" ("+
				lab.Number(100*middle(func(f figures) float64 { return float64(f.errors) / float64(f.requests) }), 2)+" %)",
			lab.Number(middle(func(f figures) float64 { return f.cpu }), 3),
			lab.Number(100*middle(func(f figures) float64 { return f.late }), 2)+" %",
		))
	}
	return out.String()
}

// rawTable has a row a run, in the order they were made.
func rawTable(cells []cell) string {
	var out strings.Builder
	out.WriteString(lab.Row("round", "scenario", "contender", "requests", "mean ms", "p99 ms", "p99.9 ms", "over 1 s",
		"to the ill one", "errors", "CPU ms a request", "sent late", "99 % sent within ms", "counted"))
	out.WriteString(lab.Row("---:", "---", "---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---"))
	for _, c := range cells {
		counted := "yes"
		if !c.valid() {
			counted = "no"
		}
		out.WriteString(lab.Row(strconv.Itoa(c.round+1), c.scenario, c.contender, strconv.Itoa(c.requests), lab.Number(c.mean, 1),
			lab.Number(c.p99, 1), lab.Number(c.p999, 1), strconv.Itoa(c.caught), lab.Number(100*c.toIll, 2)+" %", strconv.Itoa(c.errors), lab.Number(c.cpu, 3),
			lab.Number(100*c.late, 2)+" %", lab.Number(c.lag, 1), counted))
	}
	return out.String()
}

// costReport is the whole Markdown of the cost measurement, and whether every policy costs no more than promised.
func costReport(b *bench, blocks []block, whole bool, loadBefore string) (text string, met bool) {
	_, length := b.settings.costTimes()
	var out strings.Builder
	out.WriteString("# What a policy costs\n\n")
	fmt.Fprintf(&out, "CPU a request of the proxy's process beside Caddy's least_conn: both are driven at once for %s, %d requests a\n"+
		"second together in the order ABBA, before five equal upstreams that answer at once; medians of %d rounds, each with\n"+
		"new processes.\n\n", length, costRate, b.settings.rounds)
	out.WriteString(b.origin(whole, loadBefore).String() + "\n")
	spread, all := judgeCost(b.settings.contenders, blocks)
	fmt.Fprintf(&out, "A/A spread, least_conn against itself, the median of the rounds: %.1f %%.\n\n", 100*spread)
	out.WriteString(lab.Verdicts(all))
	out.WriteString("\n" + costTable(b.contenders, blocks))
	out.WriteString("\n## Each block\n\n" + rawCostTable(blocks))
	return out.String(), whole && lab.AllMet(all)
}

// costTable has a row a contender: medians, and between which ratios its rounds lay.
func costTable(contenders []contender, blocks []block) string {
	var out strings.Builder
	out.WriteString(lab.Row("", "CPU us a request", "least_conn beside it", "ratio", "smallest", "largest"))
	out.WriteString(lab.Row("---", "---:", "---:", "---:", "---:", "---:"))
	for _, c := range contenders {
		if c.name == leastConn {
			continue // it stands beside each
		}
		var used, base []float64
		for _, b := range blocks {
			if b.contender == c.name {
				used, base = append(used, b.contended), append(base, b.base)
			}
		}
		all := ratios(blocks, c.name)
		out.WriteString(lab.Row(c.title, lab.Number(lab.Median(used), 1), lab.Number(lab.Median(base), 1), lab.Number(lab.Median(all), 3),
			lab.Number(lab.Least(all), 3), lab.Number(lab.Most(all), 3)))
	}
	return out.String()
}

// rawCostTable has a row a block, in the order they were measured.
func rawCostTable(blocks []block) string {
	var out strings.Builder
	out.WriteString(lab.Row("round", "contender", "CPU us a request", "least_conn beside it", "ratio"))
	out.WriteString(lab.Row("---:", "---", "---:", "---:", "---:"))
	for _, b := range blocks {
		out.WriteString(lab.Row(strconv.Itoa(b.round+1), b.contender, lab.Number(b.contended, 1), lab.Number(b.base, 1),
			lab.Number(b.ratio(), 3)))
	}
	return out.String()
}
