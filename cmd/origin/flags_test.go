// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/cmd/origin/origin"
)

func TestParse(t *testing.T) {
	p, err := parse(strings.Fields(`--listen 127.0.0.1:0,127.0.0.1:1 --name a,b --latency const:5ms --latency exp:1ms
		--error-rate 0.01 --workers 4 --seed 7 --max-orders 10
		--settings {"stall":"1s","workers":9} --settings {"unhealthy":true}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.addresses, []string{"127.0.0.1:0", "127.0.0.1:1"}) || !slices.Equal(p.names, []string{"a", "b"}) {
		t.Errorf("%+v", p)
	}
	want := []origin.Settings{
		{Latency: "const:5ms", ErrorRate: 0.01, Workers: 4, Stall: origin.Duration(time.Second)},
		{Latency: "exp:1ms", ErrorRate: 0.01, Workers: 4, Unhealthy: true},
	}
	if !slices.Equal(p.settings, want) {
		t.Errorf("settings %+v", p.settings)
	}
	if p.options.Seed != 7 || p.options.MaxOrders != 10 || p.options.MaxQueue != 16_384 {
		t.Errorf("options %+v", p.options)
	}
}

func TestParseDefaults(t *testing.T) {
	p, err := parse(nil, nil)
	if err != nil || !slices.Equal(p.addresses, []string{"127.0.0.1:0"}) || !slices.Equal(p.names, []string{"origin1"}) {
		t.Errorf("%+v, %v", p, err)
	}
	if !slices.Equal(p.settings, []origin.Settings{{}}) {
		t.Errorf("settings %+v", p.settings)
	}
}

// TestFlagErrors: one line on stderr, nothing on stdout, status 2.
func TestFlagErrors(t *testing.T) {
	for _, test := range []struct{ args, problem string }{
		{"--no-such-flag", "not defined: -no-such-flag"},
		{"extra", `unexpected argument "extra"`},
		{"--latency 5ms", "unknown distribution"},
		{"--error-rate 1.5", "error_rate: 1.5 is outside 0 to 1"},
		{"--error-rate x", `--error-rate: "x" is not a number`},
		{"--workers -1", "workers: -1 is outside"},
		{"--workers many", `--workers: "many" is not a number`},
		{"--settings {", "--settings: decoding settings: unexpected EOF"},
		{`--settings {"stal":"1s"}`, `unknown field "stal"`},
		{"--name a,b", "--name: 2 names for 1 listeners"},
		{"--listen 127.0.0.1:0,127.0.0.1:0 --name a,a", `"a" stands there twice`},
		{"--listen 127.0.0.1:0,127.0.0.1:0 --name a,", `bad name ""`},
		{"--workers 1 --workers 2", "--workers: used 2 times for 1 listeners"},
		{"--listen " + strings.Repeat(",", 64), "65 addresses are more than 64"},
		{"--seed 0", "must be above 0"},
		{"--max-queue 0", "must be above 0"},
		{"--max-body -1", "must be above 0"},
		{"--seed x", "invalid value"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // what is not refused would serve
			defer cancel()
			if status := run(ctx, strings.Fields(test.args), &stdout, &stderr); status != 2 {
				t.Errorf("status %d", status)
			}
			got := stderr.String()
			if !strings.HasPrefix(got, "origin: ") || !strings.Contains(got, test.problem) || strings.Count(got, "\n") != 1 {
				t.Errorf("stderr %q, want one line with %q", got, test.problem)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout %q", stdout.String())
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr strings.Builder
	if status := run(t.Context(), []string{"--help"}, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
	for _, name := range []string{"listen", "name", "latency", "error-rate", "workers", "settings", "seed", "max-orders"} {
		if !strings.Contains(stdout.String(), "  -"+name+" ") {
			t.Errorf("--%s is not in the help", name)
		}
	}
}
