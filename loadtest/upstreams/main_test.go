// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
	"github.com/gatehouse-proxy/gatehouse/loadtest/lab/labtest"
)

func TestParse(t *testing.T) {
	labtest.Parse(t, parse, []labtest.CommandLine[settings]{
		{Check: func(s settings) bool {
			return s.rounds == 3 && !s.short && len(s.scenarios) == 3 && len(s.contenders) == 5
		}},
		{Line: "-cost", Check: func(s settings) bool { return s.rounds == costRounds && s.contenders[1].name == again }},
		{Rounds: "7", Short: "1", Check: func(s settings) bool { return s.rounds == 7 && s.short }},
		{Line: "-rounds 2", Rounds: "7", Check: func(s settings) bool { return s.rounds == 2 }},
		{
			Line: "-scenarios stalls,slow -contenders nginx",
			Check: func(s settings) bool {
				return lab.Names(s.scenarios) == "slow,stalls" && lab.Names(s.contenders) == "nginx"
			},
		},
		{Line: "-rounds -1", Want: "above 0"},
		{Rounds: "many", Want: `ROUNDS: "many"`},
		{Line: "-contenders traefik", Want: `"traefik" is none of least_response_time,`},
		{Line: "-scenarios fire", Want: `"fire" is none of slow,`},
		{Line: "now", Want: `unexpected argument "now"`},
	})
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
