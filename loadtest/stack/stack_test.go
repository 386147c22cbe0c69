// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
	"github.com/gatehouse-proxy/gatehouse/loadtest/lab/labtest"
)

func TestParse(t *testing.T) {
	labtest.Parse(t, parse, []labtest.CommandLine[settings]{
		{Check: func(s settings) bool { return s.rounds == 5 && !s.short && len(s.comparisons) == len(comparisons()) }},
		{Short: "1", Check: func(s settings) bool { return s.rounds == 1 && len(s.comparisons) < len(comparisons()) }},
		{Rounds: "7", Check: func(s settings) bool { return s.rounds == 7 }},
		{Line: "-comparisons hit,again", Check: func(s settings) bool { return lab.Names(s.comparisons) == "again,hit" }},
		{Line: "-short -comparisons all_loaded", Check: func(s settings) bool { return lab.Names(s.comparisons) == "all_loaded" }},
		{Line: "-each", Short: "1", Check: func(s settings) bool { return len(s.comparisons) == len(alone())+1 }},
		{Line: "-soak 10m", Check: func(s settings) bool { return s.soak == 10*time.Minute }},
		{Line: "-soak 1s", Want: "-soak: 1s is less than"},
		{Line: "-rounds -1", Want: "above 0"},
		{Line: "-rate 1", Want: "-rate: 1 is not between"},
		{Line: "-comparisons fire", Want: `"fire" is none of again,`},
		{Line: "now", Want: `unexpected argument "now"`},
	})
}

func TestEveryComparisonHasItsContendersAndTheirFiles(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range append(comparisons(), eachComparisons()[1:]...) {
		if seen[c.name] {
			t.Errorf("%s is there twice", c.name)
		}
		seen[c.name] = true
		for _, name := range []string{c.base, c.rival} {
			command, err := named(name).command(programs{nginx: "nginx"}, places{origin: "127.0.0.1:9"}, "/kept", 8080)
			if err != nil {
				t.Error(err)
			}
			if kind := named(name).program; (kind == nginx || kind == haproxy) && strings.Contains(command.Text, "{$") {
				t.Errorf("%s: not all places are filled in:\n%s", name, command.Text)
			}
		}
	}
}

func TestMissingSaysWhatToDo(t *testing.T) {
	modules := []string{"http.handlers.ip_ban", "http.handlers.request_limit"}
	installed := programs{nginx: "/nginx", haproxy: "/haproxy", redis: "/redis"}
	for _, test := range []struct {
		contender string
		programs  programs
		want      string
	}{
		{plainNone, programs{}, ""},
		{"banned", programs{}, ""},
		{"hit", installed, "this build has no module http.handlers.response_cache"},
		{"nginx", programs{}, "nginx is not installed"},
		{"haproxy", programs{}, "HAProxy is not installed"},
		{"all_redis", programs{}, "redis-server is not installed"},
		{"nginx", installed, ""},
	} {
		if got := test.programs.missing(named(test.contender), modules); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.contender, got, test.want)
		}
	}
}

// A request that should have left 20 ms before it did has waited for those as well.
func TestTimingCountsFromTheTimeDue(t *testing.T) {
	begin := time.Unix(100, 0)
	results := []result{ // ten a second
		{sequence: 1, sent: begin.Add(120 * time.Millisecond), latency: time.Millisecond},
		{sequence: 0, sent: begin, latency: time.Millisecond},
		{sequence: 2, sent: begin.Add(200 * time.Millisecond), latency: 3 * time.Millisecond},
	}
	got := timing(results, 10)
	for i, want := range []struct{ lag, whole time.Duration }{
		{20 * time.Millisecond, 21 * time.Millisecond},
		{0, time.Millisecond},
		{0, 3 * time.Millisecond},
	} {
		if got[i].lag != want.lag || got[i].whole != want.whole {
			t.Errorf("%d: lag %s, latency %s; want %s, %s", i, got[i].lag, got[i].whole, want.lag, want.whole)
		}
	}
	if got := timing(results, 0); got[0].lag != 0 || got[0].whole != time.Millisecond {
		t.Errorf("a closed loop is late: %+v", got[0])
	}
	if got, want := seconds(got), 0.203; math.Abs(got-want) > 1e-9 {
		t.Errorf("it took %g s, want %g", got, want)
	}
	late := leading(got, 1)
	if got, want := seconds(late), 0.083; math.Abs(got-want) > 1e-9 {
		t.Errorf("without its lead it took %g s, want %g", got, want)
	}
	if f := summarize(late, 1, http.StatusOK); f.requests != 3 || f.rate != 2 || f.wrong != 3 || math.Abs(f.p999-21) > 1e-9 {
		t.Errorf("the lead counts, but is not timed: %+v", f)
	}
	if got := len(timing(nil, 10)); got != 0 {
		t.Errorf("%d results out of none", got)
	}
}

func TestSummarize(t *testing.T) {
	var results []timed
	for i := range 1000 {
		r := timed{result: result{status: 200}, whole: time.Duration(1000-i) * time.Millisecond}
		if i < 2 {
			r.status, r.problem = 502, "bad gateway"
		}
		if i < 3 {
			r.lag = lab.LateAfter + 1
		}
		results = append(results, r)
	}
	f := summarize(results, 4, http.StatusOK)
	if f.requests != 1000 || f.rate != 250 || f.p50 != 500 || f.p99 != 990 || f.p999 != 999 || f.late != 0.003 {
		t.Errorf("got %+v", f)
	}
	if f.wrong != 2 || f.firstWrong != "status 502 bad gateway" {
		t.Errorf("%d wrong, the first %q", f.wrong, f.firstWrong)
	}
	if last := f.curve[len(f.curve)-1]; last != (point{1, 1000}) || len(f.curve) != len(curveShares()) {
		t.Errorf("the curve ends at %v", last)
	}
	if !math.IsNaN(f.cpu) {
		t.Errorf("CPU is %g before it was measured", f.cpu)
	}
}

// Ports may begin alike.
func TestSentToTellsProxiesApart(t *testing.T) {
	all := []timed{{result: result{url: "http://127.0.0.1:4321/a"}}, {result: result{url: "http://127.0.0.1:43210/a"}}}
	if got := sentTo(all, "http://127.0.0.1:4321/"); len(got) != 1 {
		t.Errorf("got %d", len(got))
	}
}

func TestReachedFindsAContenderThatCheats(t *testing.T) {
	byItself := comparison{reaches: false}
	both := comparison{reaches: true}
	for _, test := range []struct {
		c       comparison
		arrived int
		wrong   bool
	}{
		{byItself, 5000, false},
		{byItself, 10000, true},
		{both, 10000, false},
		{both, 5000, true},
		{both, 10050, false},
	} {
		if err := test.c.reached(test.arrived, 5000, 5000); (err != nil) != test.wrong {
			t.Errorf("%+v with %d: %v", test.c, test.arrived, err)
		}
	}
}

func TestTargetsAreJSONWithAKeyEach(t *testing.T) {
	var out bytes.Buffer
	if err := printTargets([]string{"-n", "3", "-repeat", "2", "-url", "http://h/orders", "-run", "r"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var got target
		if err := decoder.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got.Method != http.MethodPost || got.URL != "http://h/orders" || got.Body == "" {
			t.Errorf("got %+v", got)
		}
		keys = append(keys, got.Header.Get("Idempotency-Key"))
	}
	if want := strings.Fields("r-0 r-0 r-1 r-1 r-2 r-2"); !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
	if err := printTargets([]string{"-n", "0"}, &out, io.Discard); err == nil {
		t.Error("no targets are fine")
	}
	if got := numbered("http://h", miss, 7).URL; got != "http://h/cache/max-age?size=1024&n=7" {
		t.Errorf("got %s", got)
	}
}

func TestParseResults(t *testing.T) {
	const text = "1700000000000000000,200,1500000,0,1024,,,stack,7,GET,http://127.0.0.1:1/x,\n" +
		"1700000000001000000,0,900,0,0,\"dial tcp, refused\",,stack,8,GET,http://127.0.0.1:2/x,\n"
	got, err := parseResults(strings.NewReader(text))
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	want := result{
		sequence: 7, sent: time.Unix(1700000000, 0), latency: 1500 * time.Microsecond, status: 200,
		url: "http://127.0.0.1:1/x",
	}
	if got[0] != want {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	if got[1].status != 0 || got[1].problem != "dial tcp, refused" || got[1].url != "http://127.0.0.1:2/x" {
		t.Errorf("got %+v", got[1])
	}
	for _, bad := range []string{"1,2,3\n", strings.Replace(text, "200", "ok", 1)} {
		if _, err := parseResults(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestAttackArguments(t *testing.T) {
	open := strings.Join(attack{rate: 500, length: 2 * time.Second}.args("t", "r"), " ")
	closed := strings.Join(attack{length: 2 * time.Second}.args("t", "r"), " ")
	if !strings.Contains(open, "-rate=500 ") || !strings.Contains(open, "-max-workers=1024") {
		t.Errorf("open: %s", open)
	}
	if !strings.Contains(closed, "-rate=0 ") || !strings.Contains(closed, "-max-workers=32") {
		t.Errorf("closed: %s", closed)
	}
}

func TestAToolThatIsMissingIsSaidInOneLine(t *testing.T) {
	s, err := parse([]string{"-vegeta", t.TempDir() + "/no_such_generator"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.short = true // also on one core
	err = load(context.Background(), s, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "make load-tools") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestSoakComparesQuarters(t *testing.T) {
	s := soak{length: 2 * time.Minute, before: 40, after: 39}
	for i := range 12 {
		s.add(figures{requests: 10, p99: 3}, 100+float64(i)) // the median of the second quarter is 104, of the last 110
	}
	s.judge()
	if s.memory.Met || math.Abs(s.memory.Measured-110.0/104) > 1e-9 {
		t.Errorf("a heap that grows: %+v", s.memory)
	}
	if !s.answered.Met || !s.leftOver.Met || s.leftOver.Measured != 0 {
		t.Errorf("%+v, %+v", s.answered, s.leftOver)
	}
	s.add(figures{wrong: 1, firstWrong: "status 502"}, 100)
	s.after = 41
	s.judge()
	if s.answered.Met || s.leftOver.Met || !strings.Contains(s.markdown(), "status 502") {
		t.Errorf("%+v, %+v", s.answered, s.leftOver)
	}
}

func TestLinesThatDoNotArriveFailAComparison(t *testing.T) {
	before := ingested{Lines: 7, Refused: 1}
	for _, test := range []struct {
		now   ingested
		lines int
		done  bool
		want  string // of the error, or empty
	}{
		{ingested{Lines: 106, Refused: 1}, 100, false, ""},
		{ingested{Lines: 107, Refused: 1}, 100, true, ""},
		{ingested{Lines: 107, Refused: 3}, 100, false, "refused 2 batches"},
		{before, 0, true, ""},
	} {
		done, err := test.now.since(before, test.lines)
		if done != test.done || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %t, %v", test.now, done, err)
		}
	}
	for _, test := range []struct {
		base, rival string
		lines       int
	}{{plainNone, "off", 0}, {plainNone, allOn, 20}, {"off", "each_ship", 20}} {
		if got := (comparison{base: test.base, rival: test.rival}).lines([2]int{10, 20}); got != test.lines {
			t.Errorf("%s and %s log %d lines, want %d", test.base, test.rival, got, test.lines)
		}
	}
}
