// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command scenarios runs k6 scenarios of loadtest/k6, each before a proxy and upstreams of its own, over loopback.
//
//	make scenarios K6="smoke bans"
//	go run ./loadtest/scenarios -scale 0.2 load
//	go run ./loadtest/scenarios -control
//
// A scenario is loadtest/k6/NAME.js; what its proxy has switched on stands in a Caddyfile beside it. The program ends with
// status 1 if a threshold of a scenario is broken; with -control, if one is not that has to be. Ctrl-C ends everything that was
// started, and what ended before is reported.
//
//	main.go     flags, scenarios, controls     bench.go    what runs
//	control.go  what makes a scenario fail     results.go  what it showed
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// scenario is a script with what its proxy needs.
type scenario struct {
	name      string
	caddyfile string
	needs     []string      // modules that must be compiled in
	long      bool          // runs only if it is named
	killAfter time.Duration // when the second upstream is killed, at scale 1; 0: it is not
	ends      []string      // metrics whose broken thresholds are its result
	control   control
}

// Key is its name on the command line.
func (s scenario) Key() string { return s.name }

// scenarios are those of loadtest/k6.
func scenarios() []scenario {
	return append(traffic(), []scenario{
		{
			name: "limits", caddyfile: "limits.caddyfile", needs: []string{"http.handlers.request_limit"},
			control: control{without: "request_limit", breaks: []string{"limited", "over_limit"}},
		},
		{
			name: "bans", caddyfile: "bans.caddyfile", needs: []string{"http.handlers.ip_ban"},
			control: control{without: "ip_ban", breaks: []string{"checks", "leaked", "refused"}},
		},
		{
			name: "cache", caddyfile: "cache.caddyfile", needs: []string{"http.handlers.response_cache"},
			control: control{without: "response_cache", breaks: []string{"checks", "hits"}},
		},
		{
			name: "idempotency", caddyfile: "idempotency.caddyfile", needs: []string{"http.handlers.idempotency_key"},
			control: control{without: "idempotency_key", breaks: []string{"checks", "duplicate_effects", "replayed"}},
		},
		{
			name: "logs", caddyfile: "logs.caddyfile", needs: []string{"caddy.logging.writers.ship"},
			control: control{without: "log", breaks: []string{"lost_lines"}},
		},
	}...)
}

// traffic is what differs in how many requests arrive, or in what happens to the upstreams; one configuration serves all.
func traffic() []scenario {
	all := []scenario{
		{name: "smoke", control: control{
			upstream: `{"latency": "const:1500ms", "error_rate": 0.5}`, breaks: []string{"checks", "http_req_duration", "http_req_failed"},
		}},
		{name: "load", control: control{
			upstream: `{"latency": "const:8s", "error_rate": 0.05}`,
			breaks:   []string{"checks", "dropped_iterations", "http_req_duration", "http_req_failed"},
		}},
		{name: "stress", control: control{
			upstream: `{"latency": "const:3s", "error_rate": 0.01}`, breaks: []string{
				"checks", "dropped_iterations", "http_req_failed", "http_req_duration{scenario:stress}", "http_req_duration{scenario:recovered}",
			},
		}},
		{name: "spike", control: control{
			upstream: `{"latency": "const:3s", "error_rate": 0.01}`,
			breaks:   []string{"checks", "dropped_iterations", "http_req_duration", "http_req_failed"},
		}},
		{name: "soak", long: true, control: control{
			upstream: `{"latency": "const:2s", "error_rate": 0.01}`, after: 6 * time.Minute, breaks: []string{
				"checks", "goroutines_over_start", "http_req_duration{scenario:soak}", "http_req_failed{scenario:soak}",
			},
		}},
		{
			name: "breakpoint", long: true, ends: []string{"dropped_iterations", "http_req_duration", "http_req_failed"},
			control: control{upstream: `{"latency": "const:1100ms"}`, breaks: []string{"http_req_duration", "in_time"}},
		},
		{name: "upstreams", control: control{without: "lb_policy", breaks: []string{"http_req_duration{name:bytes}", "to_the_slow_one"}}},
		{
			name: "failover", killAfter: 10 * time.Second, // a third of its time
			control: control{without: "lb_retries", breaks: []string{"failed_gets", "http_req_failed"}},
		},
	}
	for i := range all {
		all[i].caddyfile = "traffic.caddyfile"
		all[i].needs = []string{"http.reverse_proxy.selection_policies.least_response_time"}
	}
	return all
}

// missing says which module a build lacks for a scenario, or nothing.
func (s scenario) missing(modules []string) string {
	for _, id := range s.needs {
		if !slices.Contains(modules, id) {
			return id
		}
	}
	return ""
}

// settings are the command line.
type settings struct {
	scenarios []scenario
	scale     float64
	output    string
	k6        string
	scripts   string // their folder
	control   bool
}

func main() { lab.Main(run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	return lab.Status("scenarios", stderr, err, func() error { return all(ctx, s, stdout, stderr) })
}

// shortScale is how long scenarios take with SHORT=1.
const shortScale = 0.25

// parse reads the command line. The names of scenarios stand after the flags; without one, all run that are not long.
func parse(args []string, help io.Writer) (s settings, err error) {
	scale := 1.0
	if lab.Short() {
		scale = shortScale
	}
	set := flag.NewFlagSet("scenarios", flag.ContinueOnError)
	set.Float64Var(&s.scale, "scale", scale, "how long scenarios take, as a `part` of their own time")
	set.StringVar(&s.output, "o", "bin/loadtest", "the `folder` that gets a JSON file of each scenario")
	set.StringVar(&s.k6, "k6", "bin/tools/k6", "the load generator's `path`")
	set.StringVar(&s.scripts, "scripts", "loadtest/k6", "the `folder` of the scripts")
	set.BoolVar(&s.control, "control", false, "run each in a world in which it has to fail")
	set.SetOutput(io.Discard) // the error is printed once, in one line, by run
	err = set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		set.SetOutput(help)
		lab.Say(help, "scenarios [flags] [%s]", lab.Names(scenarios()))
		set.PrintDefaults()
	}
	if err != nil {
		return s, err
	}
	if s.scale < 0.05 || s.scale > 100 {
		return s, fmt.Errorf("-scale: %g is not between 0.05 and 100", s.scale)
	}
	if set.NArg() == 0 {
		s.scenarios = slices.DeleteFunc(scenarios(), func(s scenario) bool { return s.long })
		return s, nil
	}
	s.scenarios, err = lab.Only(scenarios(), strings.Join(set.Args(), ","))
	return s, err
}
