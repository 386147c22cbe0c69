// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab/labtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(proxyVariable) != "" {
		runProxy()
		return
	}
	labtest.Main(m, main)
}

// TestNothingIsLost is the whole program with time scaled down.
func TestNothingIsLost(t *testing.T) {
	s := settings{rate: 200, control: 200, outage: 3 * time.Second, kills: 5, reloads: 10}
	results, err := s.measure(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Logf("%+v", r)
	}
	if err := judge(results); err != nil {
		t.Error(err)
	}
}

// The verdict must be able to fail.
func TestJudge(t *testing.T) {
	good := []result{{name: "ship", received: 10}, {name: "net", received: 10, lost: 1, control: true}}
	if err := judge(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []result{
		{name: "ship", received: 10, lost: 1},
		{name: "ship"},
		{name: "net", received: 10, control: true},
		{name: "ship", received: 10, repeats: 3, faults: 2},
		{name: "ship", received: 10, stray: 1},
		{name: "ship", received: 10, dropped: 1},
	} {
		if judge(append(good, bad)) == nil {
			t.Errorf("%+v passes", bad)
		}
	}
	if judgeMemory(good) != nil || judgeMemory([]result{{name: "ship", peak: memoryLimit + 1}}) == nil {
		t.Error("memory is misjudged")
	}
}

// A sink that clients notice must be told from healthy ones that differ.
func TestJudgeSlow(t *testing.T) {
	of := func(name string, sick bool, p99s ...time.Duration) *subject {
		return &subject{name: name, sick: sick, p99s: p99s}
	}
	a, b := of("a", false, 100, 110, 90), of("b", false, 104, 104, 92)
	if got := spread(a, b); got > 0.04 {
		t.Errorf("the spread is %f", got)
	}
	for over, bad := range map[time.Duration]bool{100: false, 104: false, 115: true, 1000: true} {
		x := of("x", true, over, over, over)
		if err := judgeSlow([]*subject{a, b, x}, spread(a, b)); (err != nil) != bad {
			t.Errorf("%d: %v", over, err)
		}
	}
	a.took.peak = memoryLimit + 1
	if judgeSlow([]*subject{a, b}, spread(a, b)) == nil {
		t.Error("nobody minds the memory")
	}
}

func TestBadInputIsSaidInOneLine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for args, want := range map[string]string{"": "its package is called redis-server", "-rate 0": "above 0", "now": "unexpected argument"} {
		var said strings.Builder
		if got := run(t.Context(), strings.Fields(args), io.Discard, &said); got != 2 {
			t.Errorf("%q: status %d, want 2", args, got)
		}
		if text := said.String(); !strings.Contains(text, want) || strings.Count(text, "\n") != 1 {
			t.Errorf("%q: it says %q", args, text)
		}
	}
}
