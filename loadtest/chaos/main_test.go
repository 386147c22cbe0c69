// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab/labtest"
)

func TestParse(t *testing.T) {
	labtest.Parse(t, parse, []labtest.CommandLine[settings]{
		{Check: func(s settings) bool { return s.cycles == 4 }},
		{Short: "1", Check: func(s settings) bool { return s.cycles == 1 }},
		{Line: "-cycles 2", Short: "1", Check: func(s settings) bool { return s.cycles == 2 }},
		{Line: "-cycles -1", Want: "expected cycles above 0"},
		{Line: "-rate 1", Want: "10 to 5000 GETs"},
		{Line: "now", Want: `unexpected argument "now"`},
	})
}

// Every promise fails a run of Gatehouse, and each that the control must break fails a control that kept it.
func TestVerdict(t *testing.T) {
	whole := func() *findings { return &findings{} }
	if err := whole().verdict(); err != nil {
		t.Errorf("nothing happened: %v", err)
	}
	for i, p := range whole().promises() {
		f := whole()
		f.promises()[i].broken.note("such as %d", 7)
		if err := f.verdict(); err == nil || !strings.Contains(err.Error(), p.text+": 1") {
			t.Errorf("%s: %v", p.text, err)
		}
		if !strings.Contains(f.String(), p.text+": such as 7") {
			t.Errorf("%s: no example in the report", p.text)
		}
		f = whole()
		f.control = true
		for j, q := range f.promises() {
			if j != i && q.control {
				q.broken.note("broken")
			}
		}
		if err := f.verdict(); (err != nil) != p.control {
			t.Errorf("%s, kept by the control: %v", p.text, err)
		}
	}
	f := whole()
	f.streams = 250
	if err := f.verdict(); err == nil {
		t.Error("streams that were never opened prove something")
	}
}

func TestHear(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		final  bool
	}{
		{201, "{}", true},
		{409, `{"type":"https://x#outcome-unknown"}`, true},
		{409, `{"type":"https://x#in-flight"}`, false},
		{503, "", false},
	} {
		s := story{answers: map[string]bool{}}
		if s.hear(test.status, test.body) != test.final {
			t.Errorf("%d %s", test.status, test.body)
		}
	}
}

func TestReceiverKnowsTheNumbers(t *testing.T) {
	r := &receiver{seen: map[int]bool{}}
	r.note([]byte(`{"request":{"uri":"/bytes/512?n=17"}}`))
	r.note([]byte(`{"request":{"uri":"/status/200"}}`))
	if missing := r.missing([]int{16, 17}); len(missing) != 1 || missing[0] != 16 {
		t.Errorf("missing %v", missing)
	}
}

func TestAMissingRedisIsSaidInOneLine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var said strings.Builder
	if got := run(t.Context(), []string{"-short"}, io.Discard, &said); got != 1 {
		t.Errorf("status %d, want 1", got)
	}
	if text := said.String(); !strings.Contains(text, "its package is called redis-server") || strings.Count(text, "\n") != 1 {
		t.Errorf("it says %q", text)
	}
}
