// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// row is a line of a Markdown table.
func row(columns ...string) string { return "| " + strings.Join(columns, " | ") + " |\n" }

// number has so many decimals, or a dash for what was not measured.
func number(v float64, decimals int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// liveReport is the whole Markdown of the live comparison, and whether every promised figure was met.
func liveReport(b *bench, cells []cell, whole bool, loadBefore string) (text string, met bool) {
	warm, count := b.settings.times()
	var out strings.Builder
	out.WriteString("# Upstream selection, live\n\n")
	fmt.Fprintf(&out, "Five upstreams on loopback, four workers each, %s; %d requests a second in an open loop, %s of\n"+
		"warm-up and %s counted, a new proxy for each run; medians of %d rounds, ratios within a round. Latency counts from\n"+
		"the time at which a request should have been sent.\n\n", wellLatency, liveRate, warm, count, b.settings.rounds)
	out.WriteString(b.heading(whole, loadBefore) + generatorNote(cells) + "\n")
	all := judge(b.settings, cells)
	out.WriteString(verdicts(all))
	for _, s := range b.settings.scenarios {
		fmt.Fprintf(&out, "\n## %s\n\n", s.title)
		out.WriteString(scenarioTable(s, b.contenders, cells))
	}
	out.WriteString("\n## Each run\n\n" + rawTable(cells))
	return out.String(), whole && allMet(all)
}

// heading says where the figures are from, and what they lack.
func (b *bench) heading(whole bool, loadBefore string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "- Machine: %d cores, %s, %s; load average %s before, %s after\n", runtime.NumCPU(), b.machine.cpu,
		b.machine.system, loadBefore, load())
	fmt.Fprintf(&out, "- Programs: commit %s, %s\n", b.machine.commit, strings.Join(b.machine.versions, ", "))
	fmt.Fprintf(&out, "- Date: %s\n", time.Now().UTC().Format(time.DateOnly))
	for _, why := range b.missing {
		fmt.Fprintf(&out, "- %s\n", why)
	}
	if b.settings.short {
		out.WriteString("- A short run, to see that it works: its figures prove nothing.\n")
	}
	if !whole {
		out.WriteString("- The run did not come to its end: not all rounds are in these tables.\n")
	}
	return out.String()
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
	out.WriteString(row("", "mean ms", "p99 ms", "p99.9 ms", "p99 ratio", "p99.9 ratio", "over 1 s", "to the ill one", "errors",
		"CPU ms a request", "sent late"))
	out.WriteString(row("---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:"))
	for _, c := range contenders {
		middle := func(m metric) float64 { return median(collect(cells, s.name, c.name, m)) }
		out.WriteString(row(
			c.title,
			number(middle(func(f figures) float64 { return f.mean }), 1),
			number(middle(p99), 0),
			number(middle(p999), 0),
			number(ratio(cells, s.name, c.name, leastConn, p99), 2),
			number(ratio(cells, s.name, c.name, leastConn, p999), 2),
			number(middle(func(f figures) float64 { return float64(f.caught) }), 0),
			number(100*middle(func(f figures) float64 { return f.toIll }), 2)+" %",
			number(middle(failures), 0)+" ("+
				number(100*middle(func(f figures) float64 { return float64(f.errors) / float64(f.requests) }), 2)+" %)",
			number(middle(func(f figures) float64 { return f.cpu }), 3),
			number(100*middle(func(f figures) float64 { return f.late }), 2)+" %",
		))
	}
	return out.String()
}

// rawTable has a row a run, in the order they were made.
func rawTable(cells []cell) string {
	var out strings.Builder
	out.WriteString(row("round", "scenario", "contender", "requests", "mean ms", "p99 ms", "p99.9 ms", "over 1 s",
		"to the ill one", "errors", "CPU ms a request", "sent late", "99 % sent within ms", "counted"))
	out.WriteString(row("---:", "---", "---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---"))
	for _, c := range cells {
		counted := "yes"
		if !c.valid() {
			counted = "no"
		}
		out.WriteString(row(strconv.Itoa(c.round+1), c.scenario, c.contender, strconv.Itoa(c.requests), number(c.mean, 1),
			number(c.p99, 1), number(c.p999, 1), strconv.Itoa(c.caught), number(100*c.toIll, 2)+" %", strconv.Itoa(c.errors), number(c.cpu, 3),
			number(100*c.late, 2)+" %", number(c.lag, 1), counted))
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
	out.WriteString(b.heading(whole, loadBefore) + "\n")
	spread, all := judgeCost(b.settings.contenders, blocks)
	fmt.Fprintf(&out, "A/A spread, least_conn against itself, the largest of the rounds: %.1f %%.\n\n", 100*spread)
	out.WriteString(verdicts(all))
	out.WriteString("\n" + costTable(b.contenders, blocks))
	out.WriteString("\n## Each block\n\n" + rawCostTable(blocks))
	return out.String(), whole && allMet(all)
}

// costTable has a row a contender: medians, and between which ratios its rounds lay.
func costTable(contenders []contender, blocks []block) string {
	var out strings.Builder
	out.WriteString(row("", "CPU us a request", "least_conn beside it", "ratio", "smallest", "largest"))
	out.WriteString(row("---", "---:", "---:", "---:", "---:", "---:"))
	for _, c := range contenders {
		if c.name == leastConn {
			continue // it stands beside each
		}
		var used, base, smallest []float64
		for _, b := range blocks {
			if b.contender == c.name {
				used, base, smallest = append(used, b.contended), append(base, b.base), append(smallest, -b.ratio())
			}
		}
		all := ratios(blocks, c.name)
		out.WriteString(row(c.title, number(median(used), 1), number(median(base), 1), number(median(all), 3),
			number(-most(smallest), 3), number(most(all), 3)))
	}
	return out.String()
}

// rawCostTable has a row a block, in the order they were measured.
func rawCostTable(blocks []block) string {
	var out strings.Builder
	out.WriteString(row("round", "contender", "CPU us a request", "least_conn beside it", "ratio"))
	out.WriteString(row("---:", "---", "---:", "---:", "---:"))
	for _, b := range blocks {
		out.WriteString(row(strconv.Itoa(b.round+1), b.contender, number(b.contended, 1), number(b.base, 1),
			number(b.ratio(), 3)))
	}
	return out.String()
}
