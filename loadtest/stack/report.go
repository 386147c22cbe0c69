// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// report is what a run found.
type report struct {
	settings    settings
	origin      lab.Origin
	comparisons []comparison
	blocks      []block
	verdicts    []lab.Verdict
}

func (b *bench) report(blocks []block, whole bool, loadBefore string) report {
	return report{
		settings: b.settings, comparisons: b.comparisons, blocks: blocks,
		origin: lab.Origin{
			Machine: b.machine, LoadBefore: loadBefore, Missing: b.missing, Short: b.settings.short, Whole: whole,
		},
		verdicts: judge(b.comparisons, blocks, b.settings.short),
	}
}

// table is shown in Markdown and on the page.
type table struct {
	Title string
	Note  string
	Head  []string
	Rows  [][]string
}

func (t table) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n\n%s\n\n", t.Title, t.Note)
	rules := slices.Repeat([]string{"---:"}, len(t.Head))
	rules[0] = "---"
	out.WriteString(lab.Row(t.Head...) + lab.Row(rules...))
	for _, row := range t.Rows {
		out.WriteString(lab.Row(row...))
	}
	return out.String()
}

// method says how it was measured, in sentences.
func (r report) method() string {
	t := r.settings.times()
	rounds := fmt.Sprintf("medians of %d rounds, ratios within a round", r.settings.rounds)
	if r.settings.rounds == 1 {
		rounds = "one round"
	}
	return fmt.Sprintf("Over loopback, before one upstream. Each line sets two proxies beside each other, in the order ABBA, in every round "+
		"with new processes, after %s of warm-up as fast as they answer, for %s; %s. Latency counts from the "+
		"time at which a request should have been sent. CPU is user and system time of all processes of a proxy.",
		t.warmUp, t.block, rounds)
}

// apart says what the run cannot tell from nothing.
func (r report) apart() string {
	if math.IsNaN(spread(r.blocks)) {
		return "The A/A spread, that of Caddy against itself, was not measured."
	}
	return "A/A spread, Caddy against itself, the largest of the rounds: " + lab.Number(100*spread(r.blocks), 1) + " %."
}

func (r report) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# The cost of the whole stack\n\n%s\n\n%s\n%s\n\n%s", r.method(), r.origin, r.apart(), lab.Verdicts(r.verdicts))
	for _, t := range r.tables() {
		out.WriteString("\n" + t.markdown())
	}
	return out.String()
}

// tables are what was measured: one a method, and every block.
func (r report) tables() []table {
	var all []table
	for _, t := range []struct {
		method      method
		title, note string
	}{
		{beside, "Cost", fmt.Sprintf("Both are driven at once, %d requests a second together.", r.settings.rate)},
		{maximum, "Greatest rate", fmt.Sprintf("A closed loop of %d clients, one proxy after the other. Its latencies are those of a "+
			"full machine.", closedWorkers)},
		{loaded, "Under load", "A constant rate, 70 % of what the slower of the two served at most, one proxy after the other."},
	} {
		made := table{Title: t.title, Note: t.note, Head: []string{
			"", "beside", "ratio", "smallest", "largest", "requests/s", "beside it", "p50 ms", "p99 ms", "p99.9 ms", "p99 ms beside it",
			"CPU us a request", "beside it", "RSS MiB", "beside it", "sent late",
		}}
		for _, c := range r.comparisons {
			if blocks := blocksOf(r.blocks, c.name); c.method == t.method && len(blocks) > 0 {
				made.Rows = append(made.Rows, r.line(c, blocks))
			}
		}
		if len(made.Rows) > 0 {
			all = append(all, made)
		}
	}
	return append(all, r.raw())
}

// line is a comparison's medians.
func (r report) line(c comparison, blocks []block) []string {
	ratios := each(blocks, func(b block) float64 { return b.ratio(c.method) })
	number := func(decimals int, figure func(block) float64) string {
		return lab.Number(middle(blocks, figure), decimals)
	}
	return []string{
		named(c.rival).title, named(c.base).title,
		lab.Number(lab.Median(ratios), 3), lab.Number(lab.Least(ratios), 3), lab.Number(lab.Most(ratios), 3),
		number(0, func(b block) float64 { return b.rival.rate }),
		number(0, func(b block) float64 { return b.base.rate }),
		number(2, func(b block) float64 { return b.rival.p50 }),
		number(2, func(b block) float64 { return b.rival.p99 }),
		number(2, func(b block) float64 { return b.rival.p999 }),
		number(2, func(b block) float64 { return b.base.p99 }),
		number(1, func(b block) float64 { return b.rival.cpu }),
		number(1, func(b block) float64 { return b.base.cpu }),
		number(0, func(b block) float64 { return b.rival.resident }),
		number(0, func(b block) float64 { return b.base.resident }),
		lab.Number(100*middle(blocks, func(b block) float64 { return max(b.rival.late, b.base.late) }), 2) + " %",
	}
}

// raw has two rows a block, in the order they were measured.
func (r report) raw() table {
	t := table{Title: "Each block", Note: "The first line of a pair is the base.", Head: []string{
		"comparison", "round", "contender", "requests", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us a request", "RSS MiB",
		"sent late",
	}}
	for _, b := range r.blocks {
		c := r.comparisons[slices.IndexFunc(r.comparisons, func(c comparison) bool { return c.name == b.comparison })]
		for i, f := range [2]figures{b.base, b.rival} {
			t.Rows = append(t.Rows, []string{
				b.comparison, strconv.Itoa(b.round + 1), [2]string{c.base, c.rival}[i], strconv.Itoa(f.requests), lab.Number(f.rate, 0),
				lab.Number(f.p50, 2), lab.Number(f.p99, 2), lab.Number(f.p999, 2), lab.Number(f.cpu, 1), lab.Number(f.resident, 0),
				lab.Number(100*f.late, 2) + " %",
			})
		}
	}
	return t
}

// write puts report.html and report.md into a folder.
func (r report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	page, err := r.page()
	return errors.Join(err,
		os.WriteFile(filepath.Join(folder, "report.html"), []byte(page), 0o644),
		os.WriteFile(filepath.Join(folder, "report.md"), []byte(r.markdown()), 0o644))
}

// finite keeps what can be drawn.
func finite(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}
