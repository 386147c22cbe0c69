// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

func summaryOf(t *testing.T, text string) (s summary) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	held    = `"lost": {"type": "counter", "values": {"count": 0}, "thresholds": {"count==0": {"ok": true}}}`
	lost    = `"lost": {"type": "counter", "values": {"count": 3}, "thresholds": {"count==0": {"ok": false}}}`
	failed  = `"http_req_failed": {"type": "rate", "values": {"passes": 5, "fails": 5}, "thresholds": {"rate==0": {"ok": false}}}`
	nothing = `"http_req_duration": {"type": "trend", "values": {"count": 0}, "thresholds": {"p(99)<250": {"ok": true}}}`
	unasked = `"hits": {"type": "rate", "values": {"passes": 0, "fails": 0}, "thresholds": {"rate>0.9": {"ok": true}}}`
)

func TestJudge(t *testing.T) {
	s := scenario{ends: []string{"http_req_failed"}, control: control{breaks: []string{"lost", "http_req_failed"}}}
	for _, test := range []struct {
		name, metrics string
		control       bool
		want          string // of the error, or empty
	}{
		{"whole", held, false, ""},
		{"broken", lost, false, "broken: lost"},
		{"its end", held + "," + failed, false, ""},
		{"its end, and more", lost + "," + failed, false, "broken: lost"},
		{"a trend without a sample", held + "," + nothing, false, "broken: http_req_duration"},
		{"a rate without a sample", held + "," + unasked, false, "broken: hits"},
		{"no threshold", `"vus": {"type": "gauge"}`, false, "no threshold"},
		{"a control that fails", lost + "," + failed, true, ""},
		{"a control that holds one", held + "," + failed, true, "holds lost, so"},
		{"a control that holds all", held, true, "holds lost, http_req_failed, so"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := judge(s, summaryOf(t, `{"metrics": {`+test.metrics+`}}`), test.control)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	got := summaryOf(t, `{"state": {"testRunDurationMs": 2000}, "metrics": {`+lost+`,
		"hits": {"type": "rate", "values": {"rate": 0.95}}, "hits{name:x}": {"type": "rate"},
		"http_reqs": {"type": "counter", "values": {"count": 200, "rate": 100}}}}`)
	text := report(lab.Origin{Whole: false}, []outcome{{scenario{name: "logs"}, got, os.ErrInvalid}}, 0.5, false)
	for _, want := range []string{
		"did not come to its end", "| logs | 2 | 200 | 100 |", "hits 95 %, lost 3 |", "| lost | **failed** |", "Scale: 0.5",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestWithout(t *testing.T) {
	const text = "http://x {\n\tlog {\n\t\toutput ship a {\n\t\t\tsink b\n\t\t}\n\t}\n\tip_ban\n\treverse_proxy c\n}\n"
	for directive, want := range map[string]string{
		"log":    "http://x {\n\tip_ban\n\treverse_proxy c\n}\n",
		"ip_ban": strings.Replace(text, "\tip_ban\n", "", 1),
	} {
		if got, err := without(text, directive); err != nil || got != want {
			t.Errorf("without %s: %v\n%s", directive, err, got)
		}
	}
	if _, err := without(text, "ip_bans"); err == nil {
		t.Error("what is not there was left out")
	}
}

// Every scenario has a control that breaks something, and what it leaves out stands in its configuration.
func TestControlsAreWhole(t *testing.T) {
	for _, s := range scenarios() {
		if len(s.control.breaks) == 0 || (s.control.without == "") == (s.control.upstream == "") {
			t.Errorf("%s has no control, or two", s.name)
		}
		text, err := os.ReadFile(filepath.Join("../k6", s.caddyfile))
		if err != nil {
			t.Fatal(err)
		}
		if s.control.without != "" {
			if _, err := without(string(text), s.control.without); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		}
		script, err := os.ReadFile(filepath.Join("../k6", s.name+".js"))
		if err != nil {
			t.Fatal(err)
		}
		library, err := os.ReadFile("../k6/lib/run.js")
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range slices.Concat(s.control.breaks, s.ends) {
			if !strings.Contains(string(script)+string(library), metric) {
				t.Errorf("%s has no threshold on %s", s.name, metric)
			}
		}
	}
}
