// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		line, rounds, short string
		want                string // of the error, or empty
		check               func(settings) bool
	}{
		{check: func(s settings) bool {
			return s.rounds == 3 && !s.short && len(s.scenarios) == 3 && len(s.contenders) == 5
		}},
		{line: "-cost", check: func(s settings) bool { return s.rounds == costRounds && s.contenders[1].name == again }},
		{rounds: "7", short: "1", check: func(s settings) bool { return s.rounds == 7 && s.short }},
		{line: "-rounds 2", rounds: "7", check: func(s settings) bool { return s.rounds == 2 }},
		{
			line: "-scenarios stalls,slow -contenders nginx",
			check: func(s settings) bool {
				return lab.Names(s.scenarios) == "slow,stalls" && lab.Names(s.contenders) == "nginx"
			},
		},
		{line: "-rounds -1", want: "above 0"},
		{rounds: "many", want: `ROUNDS: "many"`},
		{line: "-contenders traefik", want: `"traefik" is none of least_response_time,`},
		{line: "-scenarios fire", want: `"fire" is none of slow,`},
		{line: "now", want: `unexpected argument "now"`},
	} {
		t.Run(test.line+test.rounds, func(t *testing.T) {
			t.Setenv("ROUNDS", test.rounds)
			t.Setenv("SHORT", test.short)
			s, err := parse(strings.Fields(test.line), io.Discard)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "" && !test.check(s):
				t.Errorf("got %+v", s)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	if _, err := parse([]string{"-h"}, io.Discard); err != flag.ErrHelp {
		t.Errorf("-h: %v", err)
	}
}

func TestMissingSaysWhatToInstall(t *testing.T) {
	policies := []string{"http.reverse_proxy.selection_policies.least_conn", "http.reverse_proxy.selection_policies.guard"}
	installed := programs{nginx: "/usr/sbin/nginx", haproxy: "/usr/sbin/haproxy"}
	for _, test := range []struct {
		contender string
		programs  programs
		want      string
	}{
		{leastConn, programs{}, ""},
		{"guard", programs{}, ""},
		{leastTime, installed, "no policy least_response_time"},
		{"nginx", programs{haproxy: installed.haproxy}, "nginx is not installed"},
		{"haproxy", programs{nginx: installed.nginx}, "HAProxy is not installed"},
		{"nginx", installed, ""},
		{"haproxy", installed, ""},
	} {
		one, err := lab.Only(contenders(), test.contender)
		if err != nil {
			t.Fatal(err)
		}
		got := test.programs.missing(one[0], policies)
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.contender, got, test.want)
		}
	}
}
