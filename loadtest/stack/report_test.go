// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// blocks are two rounds of comparisons with these ratios.
func blocks(ratios map[string]float64) []block {
	made := func(ratio float64) figures {
		var curve []point
		for _, share := range curveShares() {
			curve = append(curve, point{share, (1 + 9*share) * ratio})
		}
		return figures{
			requests: 1000, rate: 500 * ratio, p50: 1, p99: 10 * ratio, p999: 20, cpu: 200 * ratio, resident: 50, curve: curve,
		}
	}
	var all []block
	for round := range 2 {
		for _, c := range comparisons() {
			if ratio, ok := ratios[c.name]; ok {
				all = append(all, block{c.name, round, made(1), made(ratio)})
			}
		}
	}
	return all
}

// promised is exactly what is promised.
func promised() map[string]float64 {
	return map[string]float64{
		again: 1.02, sameOff: 1.02, "all_to_file": 0.9, "all_same": 1.2, "all": 1, "all_redis": 1.25, "hit": 0.45, "hit_all": 0.65,
		"banned": 0.45, "limited": 0.45, "hit_maximum": 1.6, "all_loaded": 1.1, "nginx": 3,
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name  string
		ratio float64
		short bool
		met   bool
	}{
		{name: again, ratio: 1.02, met: true}, // as promised
		{name: "all", ratio: 1.01},
		{name: "hit_all", ratio: 0.65 * 1.14, short: true, met: true},
		{name: "hit_all", ratio: 0.65 * 1.16, short: true},
		{name: "all", ratio: 1.14, short: true, met: true},
		{name: "all", ratio: 1.16, short: true},
		{name: sameOff, ratio: 1.03},
		{name: "hit_maximum", ratio: 1.59},
		{name: "hit_maximum", ratio: 1.5, short: true, met: true},
		{name: "all_loaded", ratio: 1.11},
		{name: "nginx", ratio: 9, met: true}, // which nobody promised
		{name: "banned", ratio: math.NaN()},
	} {
		ratios := promised()
		ratios[test.name] = test.ratio
		got := judge(comparisons(), blocks(ratios), test.short)
		if lab.AllMet(got) != test.met {
			t.Errorf("%s at %g, short %t: %+v", test.name, test.ratio, test.short, got)
		}
	}
	withoutOne := promised()
	delete(withoutOne, "limited")
	if lab.AllMet(judge(comparisons(), blocks(withoutOne), false)) {
		t.Error("what was not measured passes")
	}
}

func TestReportsAreWhole(t *testing.T) {
	s, err := parse([]string{"-rounds", "2"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{settings: s, comparisons: s.comparisons, missing: []string{"nginx, <b>: left out."}}
	r := b.report(blocks(promised()), true, "0.10 0.20 0.30")
	folder := t.TempDir()
	if err := r.write(folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"load average 0.10 0.20 0.30 before",
		"- nginx, <b>: left out.\n",
		"the largest of the rounds: 2.0 %",
		"| CPU a request: Gatehouse, a banned client, to Caddy, no access log | <= 0.450 | 0.450 | met |\n",
		"| requests/s: Gatehouse, cache hit, everything, log shipped, to Caddy, no access log | >= 1.600 | 1.600 | met |\n",
		"| Gatehouse, cache hit | Caddy, no access log | 0.450 |",
		"| hit | 2 | hit | 1000 | 225 |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	page, err := os.ReadFile(filepath.Join(folder, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{"http://", "https://", "<script", "<b>", "NaN", "Inf", "ZgotmplZ"} {
		if strings.Contains(string(page), forbidden) {
			t.Errorf("the page has %q", forbidden)
		}
	}
	checkPictures(t, string(page))
}

// checkPictures wants well-formed SVG.
func checkPictures(t *testing.T, page string) {
	t.Helper()
	pictures := 0
	for rest := page; ; pictures++ {
		_, after, found := strings.Cut(rest, "<svg")
		if !found {
			break
		}
		picture, next, found := strings.Cut(after, "</svg>")
		if !found {
			t.Fatal("a picture does not end")
		}
		decoder := xml.NewDecoder(strings.NewReader("<svg" + picture + "</svg>"))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("picture %d: %v", pictures+1, err)
			}
		}
		rest = next
	}
	if pictures < 5 {
		t.Errorf("only %d pictures", pictures)
	}
}

// An interrupted run may have measured next to nothing.
func TestReportOfLittle(t *testing.T) {
	s, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{settings: s, comparisons: s.comparisons}
	one := block{comparison: "nginx", base: figures{requests: 1, cpu: math.NaN()}, rival: figures{requests: 1, cpu: math.NaN()}}
	r := b.report([]block{one}, false, "")
	page, err := r.page()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{page, r.markdown()} {
		if strings.Contains(text, "NaN") || !strings.Contains(text, "did not come to its end") {
			t.Error("the report says NaN, or not that it is not whole")
		}
	}
}

func TestNiceStep(t *testing.T) {
	for at, want := range map[float64]float64{0.2: 0.2, 0.21: 0.5, 0.06: 0.1, 3: 5, 7: 10, 0: 1} {
		if got := niceStep(at); math.Abs(got-want) > 1e-9 {
			t.Errorf("step for %g is %g, want %g", at, got, want)
		}
	}
	if got := niceStep(math.NaN()); got != 1 {
		t.Errorf("step for nothing is %g", got)
	}
}
