// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	scenarios, err := ReadFile(strings.NewReader(`{"scenarios": [{
		"name": "mine", "load": 0.6, "duration": "30s", "from": "1s", "proxies": 2, "watch": 2,
		"demand": {"distribution": "exponential", "mean": "20ms"},
		"servers": [
			{"count": 2, "workers": 4},
			{"slowdown": 3, "rtt": "5ms", "zone": 1, "weight": 2, "failures": [{"from": "5s", "for": "2s", "value": 0.5}],
			 "stalls": [{"from": "1s", "for": "1s", "every": "10s"}], "cold": {"slowdown": 4, "requests": 50}}
		]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	sc := scenarios[0]
	if n := len(sc.servers()); n != 3 {
		t.Errorf("%d servers, want 3", n)
	}
	// 2*4 workers at full speed and 8 at a third, each 50 requests/s.
	if got, want := sc.rate(), .6*(8+8./3)*50; got < want-.1 || got > want+.1 {
		t.Errorf("rate %v, want %v", got, want)
	}
	for _, policy := range []string{"oracle", "least_response_time"} {
		if r := simulate(t, sc, policy); r.Requests < 1000 {
			t.Errorf("%s: %v requests", policy, r.Requests)
		}
	}
}

func TestReadFileRefuses(t *testing.T) {
	server := `"servers": [{}]`
	for name, test := range map[string]struct{ in, want string }{
		"no JSON":           {`{`, "unexpected EOF"},
		"two values":        {`{"scenarios": [{"name":"a","load":1,` + server + `}]} {}`, "something follows"},
		"none":              {`{"scenarios": []}`, "there are none"},
		"unknown field":     {`{"scenarios": [{"name":"a","loda":1}]}`, `unknown field "loda"`},
		"number for time":   {`{"scenarios": [{"name":"a","duration":5}]}`, "a duration is text"},
		"bad time":          {`{"scenarios": [{"name":"a","duration":"5 parsecs"}]}`, "unknown unit"},
		"no name":           {`{"scenarios": [{"load":1,` + server + `}]}`, "no name"},
		"no servers":        {`{"scenarios": [{"name":"a","load":1}]}`, "no servers"},
		"load and rate":     {`{"scenarios": [{"name":"a","load":1,"rate":5,` + server + `}]}`, "either a load or a rate"},
		"neither":           {`{"scenarios": [{"name":"a",` + server + `}]}`, "either a load or a rate"},
		"distribution":      {`{"scenarios": [{"name":"a","load":1,"demand":{"distribution":"zipf"},` + server + `}]}`, `"zipf" is none of`},
		"window":            {`{"scenarios": [{"name":"a","load":1,"servers":[{"stalls":[{"from":"1s"}]}]}]}`, "servers[0]: stalls[0]"},
		"ratio":             {`{"scenarios": [{"name":"a","load":1,"servers":[{},{"failures":[{"from":"1s","for":"1s","value":2}]}]}]}`, "servers[1]: failures[0]"},
		"overlap":           {`{"scenarios": [{"name":"a","load":1,"servers":[{"stalls":[{"from":"1s","for":"3s","every":"2s"}]}]}]}`, "over before the next"},
		"watch":             {`{"scenarios": [{"name":"a","load":1,"watch":1,` + server + `}]}`, "servers 0 to 0"},
		"too many servers":  {`{"scenarios": [{"name":"a","load":1,"servers":[{"count":2000000000}]}]}`, "more than 10000"},
		"too many requests": {`{"scenarios": [{"name":"a","rate":1e9,` + server + `}]}`, "more than 50000000 requests"},
		"late start":        {`{"scenarios": [{"name":"a","load":1,"servers":[{"join":"1s"}]}]}`, "from the start"},
		"part of nothing":   {`{"scenarios": [{"name":"a","load":1,"from":"9s","to":"8s",` + server + `}]}`, "is no part of"},
		"below zero":        {`{"scenarios": [{"name":"a","load":1,"servers":[{"workers":-1}]}]}`, "below 0"},
		"copyable":          {`{"scenarios": [{"name":"a","load":1,"copyable":3,` + server + `}]}`, "between 0 and 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadFile(strings.NewReader(test.in))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add([]byte(`{"scenarios": [{"name":"a","load":1,"servers":[{}]}]}`))
	f.Add([]byte(`{"scenarios": [{"name":"a","rate":3,"servers":[{"count":3,"stalls":[{"from":"1s","for":"1s","every":"2s"}]}]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		scenarios, err := ReadFile(strings.NewReader(string(in)))
		if err != nil {
			return
		}
		out, err := json.Marshal(File{Scenarios: scenarios})
		if err != nil {
			t.Fatal(err)
		}
		again, err := ReadFile(strings.NewReader(string(out)))
		if err != nil || !reflect.DeepEqual(scenarios, again) {
			t.Errorf("%s: read again: %v", out, err)
		}
	})
}

func TestStandardScenariosAreSound(t *testing.T) {
	for _, v := range []Variation{Tuning(), HeldOut()} {
		names := map[string]bool{}
		for _, c := range Standard(v) {
			if err := c.Normalize(); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			if names[c.Name] {
				t.Errorf("two scenarios are called %q", c.Name)
			}
			names[c.Name] = true
		}
	}
}
