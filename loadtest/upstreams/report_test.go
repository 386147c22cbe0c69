// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

func TestPlanInterleavesAndRotates(t *testing.T) {
	var got []string
	for _, next := range plan(
		[]scenario{{name: "s"}, {name: "t"}}, []contender{{name: "a"}, {name: "b"}, {name: "c"}}, 4,
	) {
		got = append(got, next.scenario.name+next.contender.name)
	}
	want := strings.Fields(`sa sb sc ta tb tc  sb sc sa tb tc ta  sc sa sb tc ta tb  sa sb sc ta tb tc`)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFaults(t *testing.T) {
	times := func(faults []fault) (at []time.Duration) {
		for _, f := range faults {
			at = append(at, f.at/time.Second)
		}
		return at
	}
	if got, want := times(freezeOften(warmUp, counted)), []time.Duration{1, 7, 13, 19}; !slices.Equal(got, want) {
		t.Errorf("freezes at %d s, want %d", got, want)
	}
	if got, want := times(freezeOften(shortWarmUp, shortCounted)), []time.Duration{4}; !slices.Equal(got, want) {
		t.Errorf("freezes of a short run at %d s, want %d", got, want)
	}
	if got, want := times(breakOnce(warmUp, counted)), []time.Duration{6}; !slices.Equal(got, want) {
		t.Errorf("outages at %d s, want %d", got, want)
	}
}

func TestShareIsWhatReachedOneUpstreamMeanwhile(t *testing.T) {
	before := []lab.Stats{{Requests: 100}, {Requests: 5}}
	after := []lab.Stats{{Requests: 130}, {Requests: 15}}
	if got := lab.Share(before, after, 1); got != 0.25 {
		t.Errorf("share is %g, want 0.25", got)
	}
	if got := lab.Share(before, before, 1); got != 0 {
		t.Errorf("share of nothing is %g", got)
	}
}

// all of both lists, three rounds, with the figures that a test is about.
func measured(p99ratio, p999ratio float64, errors ...int) []cell {
	var cells []cell
	for round, n := range errors {
		base := figures{requests: 1000, p99: 200, p999: 2000}
		other := figures{requests: 1000, p99: 200 * p99ratio, p999: 2000 * p999ratio, errors: n}
		for _, s := range scenarios() {
			cells = append(cells, cell{s.name, leastConn, round, base}, cell{s.name, leastTime, round, other})
		}
	}
	return cells
}

func TestJudge(t *testing.T) {
	all := settings{scenarios: scenarios(), contenders: contenders()}
	short := all
	short.short = true
	withoutOurs := all
	withoutOurs.contenders = withoutOurs.contenders[1:]
	for _, test := range []struct {
		name     string
		settings settings
		cells    []cell
		verdicts int
		met      bool
	}{
		{"all met, to the last digit", all, measured(0.65, 0.35, 10, 0, 10), 3, true},
		{"p99 missed", all, measured(0.66, 0.35, 0), 3, false},
		{"p99.9 missed", all, measured(0.65, 0.36, 0), 3, false},
		{"one outage of three with too many errors", all, measured(0.5, 0.1, 0, 11, 0), 3, false},
		{"a short run does not judge stalls", short, measured(0.5, 1, 0), 2, true},
		{"nothing measured", all, nil, 3, false},
		{"ours was not asked for", withoutOurs, nil, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := judge(test.settings, test.cells)
			if len(got) != test.verdicts || lab.AllMet(got) != test.met {
				t.Errorf("%d verdicts, met %t: %+v", len(got), lab.AllMet(got), got)
			}
		})
	}
}

func TestJudgeCost(t *testing.T) {
	of := func(contender string, ratios ...float64) (blocks []block) {
		for i, r := range ratios {
			blocks = append(blocks, block{contender, i, 200, 200 * r})
		}
		return blocks
	}
	pair := append(costContenders()[:2], contender{name: "x", title: "X"})
	for _, test := range []struct {
		name   string
		blocks []block
		met    bool
	}{
		{"3 % more", append(of(again, 1, 0.99, 1.01), of("x", 1.02, 1.03, 1.04)...), true},
		{"more than 3 %", append(of(again, 1, 0.99, 1.01), of("x", 1.02, 1.04, 1.05)...), false},
		{"within the A/A spread, above", append(of(again, 1, 1.05, 1.04), of("x", 1.04, 1.04, 1.05)...), true},
		{"within the A/A spread, below", append(of(again, 0.96, 0.95, 1.01), of("x", 1.04, 1.04, 1.05)...), true},
		{"beyond the A/A spread, of which one round is no measure", append(of(again, 1, 1.05, 1.01), of("x", 1.04, 1.04, 1.05)...), false},
		{"not measured", of(again, 1, 1, 1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			spread, got := judgeCost(pair, test.blocks)
			if len(got) != 1 || lab.AllMet(got) != test.met {
				t.Errorf("spread %g, %+v", spread, got)
			}
		})
	}
}

func TestReportsAreTables(t *testing.T) {
	s, err := parse([]string{"-rounds", "1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{settings: s, contenders: s.contenders[:3], missing: []string{"nginx is left out: it is not installed."}}
	text, met := liveReport(b, measured(0.5, 0.25, 7), true, "0.10 0.20 0.30")
	if !met {
		t.Error("the figures are not met")
	}
	for _, want := range []string{
		"load average 0.10 0.20 0.30 before",
		"- Generator: in 0 of 6 runs it sent one request of a hundred over 40 ms late",
		"- nginx is left out: it is not installed.\n",
		"| one slow: p99 of least_response_time to Caddy least_conn | <= 0.65 | 0.500 | met |\n",
		"| Gatehouse least_response_time | 0.0 | 100 | 500 | 0.50 | 0.25 | 0 | 0.00 % | 7 (0.70 %) | 0.000 | 0.00 % |\n",
		"| Gatehouse guard, least_conn | - | - | - | - | - | - | - % | - (- %) | - | - % |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "did not come to its end") {
		t.Error("the report says NaN, or that it is not whole")
	}
	checkTables(t, text)

	text, met = liveReport(b, measured(0.5, 0.25, 7), false, "")
	if met || !strings.Contains(text, "did not come to its end") {
		t.Error("an interrupted run passes for a whole one")
	}

	b.settings.cost, b.settings.contenders, b.contenders = true, costContenders(), costContenders()
	text, _ = costReport(b, []block{{again, 0, 200, 202}, {leastTime, 0, 200, 208}}, true, "")
	for _, want := range []string{
		"the median of the rounds: 1.0 %",
		"| CPU a request to least_conn: Gatehouse least_response_time | <= 1.030 | 1.040 | missed |\n",
		"| CPU a request to least_conn: Gatehouse guard, least_conn | <= 1.030 | - | not measured |\n",
		"| Gatehouse least_response_time | 208.0 | 200.0 | 1.040 | 1.040 | 1.040 |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report of costs lacks %q", want)
		}
	}
	checkTables(t, text)
}

// checkTables wants as many cells in each row as in the table's head.
func checkTables(t *testing.T, text string) {
	t.Helper()
	columns := 0
	for line := range strings.Lines(text) {
		n := strings.Count(line, "|")
		if n == 0 {
			columns = 0
			continue
		}
		if columns == 0 {
			columns = n
		}
		if n != columns {
			t.Errorf("%d cells in place of %d: %s", n-1, columns-1, line)
		}
	}
}
