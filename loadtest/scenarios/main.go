// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command scenarios runs k6 scenarios of loadtest/k6, each before a proxy and upstreams of its own, over loopback.
//
//	make scenarios K6="smoke bans"
//	go run ./loadtest/scenarios -scale 0.2 load
//
// A scenario is loadtest/k6/NAME.js; what its proxy has switched on stands in a Caddyfile beside it. The program ends with
// status 1 if a threshold of a scenario is broken. Ctrl-C ends everything that was started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
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
}

// Key is its name on the command line.
func (s scenario) Key() string { return s.name }

// scenarios are those of loadtest/k6.
func scenarios() []scenario {
	traffic := func(name string) scenario {
		return scenario{
			name: name, caddyfile: "traffic.caddyfile",
			needs: []string{"http.reverse_proxy.selection_policies.least_response_time"},
		}
	}
	failover, soak, breakpoint := traffic("failover"), traffic("soak"), traffic("breakpoint")
	soak.long, breakpoint.long = true, true
	failover.killAfter = 10 * time.Second // a third of its time
	return []scenario{
		traffic("smoke"), traffic("load"), traffic("stress"), traffic("spike"), soak, breakpoint,
		{name: "limits", caddyfile: "limits.caddyfile", needs: []string{"http.handlers.request_limit"}},
		{name: "bans", caddyfile: "bans.caddyfile", needs: []string{"http.handlers.ip_ban"}},
		{name: "cache", caddyfile: "cache.caddyfile", needs: []string{"http.handlers.response_cache"}},
		{name: "idempotency", caddyfile: "idempotency.caddyfile", needs: []string{"http.handlers.idempotency_key"}},
		traffic("upstreams"),
		{name: "logs", caddyfile: "logs.caddyfile", needs: []string{"caddy.logging.writers.ship"}},
		failover,
	}
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
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		lab.Say(stderr, "scenarios: %v", err)
		return 2
	}
	if err := all(ctx, s, stdout, stderr); err != nil {
		lab.Say(stderr, "scenarios: %v", err)
		return 1
	}
	return 0
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
