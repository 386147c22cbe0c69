// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command upstreams compares policies of upstream selection on real proxies, over loopback: ours and Caddy's least_conn
// in the same program, nginx's and HAProxy's where they are installed, before five upstreams of which one falls ill.
//
//	go run ./loadtest/upstreams [-o loadtest/results/upstreams.md]
//	go run ./loadtest/upstreams -cost
//
// The first measures latency, errors and the share of requests that the ill upstream gets, in three scenarios. The second
// measures what a policy costs: CPU a request against least_conn. Both print Markdown with the machine, the versions and
// each round's figures, and end with status 1 if a figure that the project promises is missed. The method is described in
// docs/performance.md.
//
// Ctrl-C stops everything that was started and prints what has been measured so far.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// settings are the command line.
type settings struct {
	cost       bool
	short      bool
	rounds     int
	output     string
	scenarios  []scenario
	contenders []contender
}

func main() { lab.Main(run) }

// run is the program without its process. The result is the exit status: 2 for a wrong command line, 1 for a failure or
// a missed figure.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	return lab.Status("upstreams", stderr, err, func() error {
		b, err := prepare(ctx, s, stderr)
		if err != nil {
			return lab.Interrupted(ctx, err)
		}
		defer b.close()
		met, err := b.report(ctx, stdout)
		if err == nil && !met {
			err = lab.ErrMissed
		}
		return lab.Interrupted(ctx, err)
	})
}

// parse reads the command line; ROUNDS and SHORT of the environment are the defaults of their flags.
func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	var scenarioNames, contenderNames string
	set := flag.NewFlagSet("upstreams", flag.ContinueOnError)
	set.BoolVar(&s.cost, "cost", false, "measure CPU a request against least_conn, on upstreams that are well and fast")
	set.BoolVar(&s.short, "short", lab.Short(), "a quarter of the time, to see that it works")
	set.IntVar(&s.rounds, "rounds", 0, "how many `times` each is measured (default $ROUNDS, else 3, or 13 with -cost)")
	set.StringVar(&s.output, "o", "", "a `file` that gets the report too")
	set.StringVar(&scenarioNames, "scenarios", "", "only these, by `name`, separated by commas: "+lab.Names(scenarios()))
	set.StringVar(&contenderNames, "contenders", "", "only these, by `name`, separated by commas: "+lab.Names(contenders())+
		"; with -cost "+lab.Names(costContenders()))
	err := lab.Parse(set, args, help)
	if err != nil {
		return s, err
	}
	standard := 3
	if s.cost {
		standard = costRounds
	}
	if s.rounds, err = lab.Rounds(s.rounds, standard); err != nil {
		return s, err
	}
	if s.scenarios, err = lab.Only(scenarios(), scenarioNames); err != nil {
		return s, fmt.Errorf("-scenarios: %w", err)
	}
	all := contenders()
	if s.cost {
		all = costContenders()
	}
	if s.contenders, err = lab.Only(all, contenderNames); err != nil {
		return s, fmt.Errorf("-contenders: %w", err)
	}
	return s, nil
}

// report measures, prints, and tells whether every promised figure was met. What was measured is printed also if a later
// measurement fails.
func (b *bench) report(ctx context.Context, stdout io.Writer) (met bool, err error) {
	began := time.Now()
	var text string
	if b.settings.cost {
		text, met, err = b.cost(ctx)
	} else {
		text, met, err = b.live(ctx)
	}
	if text == "" {
		return false, err
	}
	lab.Say(b.progress, "took %s", time.Since(began).Round(time.Second))
	_, printErr := io.WriteString(stdout, text)
	if b.settings.output != "" {
		printErr = errors.Join(printErr, os.WriteFile(b.settings.output, []byte(text), 0o644))
	}
	return met, errors.Join(err, printErr)
}
