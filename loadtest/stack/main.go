// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command stack measures what Gatehouse costs: beside Caddy as it is released, and beside nginx and HAProxy where they are
// installed, over loopback, before one upstream.
//
//	make loadtest
//	go run ./loadtest/stack -comparisons again,off,hit
//
// Each comparison sets two proxies beside each other, in the order ABBA, in every round with new processes. What a
// contender has switched on stands in loadtest/stack/contenders/. The report is a page without scripts, and the same as
// Markdown. The program ends with status 1 if a promised ratio is missed; it never judges absolute figures. The method is
// described in docs/load_tests.md.
//
// Ctrl-C stops everything that was started and writes what has been measured so far.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// settings are the command line.
type settings struct {
	short       bool
	rounds      int
	rate        int
	output      string
	vegeta      string
	gatehouse   string // the proxy that is measured; empty: it is built
	comparisons []comparison
	soak        time.Duration // 0: compare instead
}

func main() { lab.Main(run) }

// run is the program without its process. The result is the exit status: 2 for a wrong command line, 1 for a failure or
// a missed figure.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "targets" {
		return lab.Status("stack", stderr, nil, func() error { return printTargets(args[1:], stdout, stderr) })
	}
	s, err := parse(args, stderr)
	return lab.Status("stack", stderr, err, func() error { return load(ctx, s, stdout, stderr) })
}

// load measures and reports.
func load(ctx context.Context, s settings, stdout, progress io.Writer) error {
	b, err := prepare(ctx, s, progress)
	if err != nil {
		return lab.Interrupted(ctx, err)
	}
	defer b.close()
	if s.soak > 0 {
		return b.soakAndReport(ctx, stdout)
	}
	before := lab.Load()
	blocks, err := b.all(ctx)
	if len(blocks) == 0 {
		return err
	}
	r := b.report(blocks, err == nil, before)
	_, printErr := io.WriteString(stdout, r.markdown())
	if err = errors.Join(err, printErr, r.write(s.output)); err == nil && !lab.AllMet(r.verdicts) {
		err = lab.ErrMissed
	}
	lab.Say(progress, "the report is %s/report.html", s.output)
	return err
}

// parse reads the command line; ROUNDS and SHORT of the environment are the defaults of their flags.
func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	var list string
	var each bool
	set := flag.NewFlagSet("stack", flag.ContinueOnError)
	set.BoolVar(&s.short, "short", lab.Short(), "one round of short blocks and fewer comparisons, within two minutes")
	set.IntVar(&s.rounds, "rounds", 0, "how many `times` each is measured (default $ROUNDS, else 5, or 1 with -short)")
	set.IntVar(&s.rate, "rate", 1000, "requests a `second` of both proxies together when their cost is measured")
	set.StringVar(&s.output, "o", "bin/loadtest", "the `folder` that gets report.html and report.md")
	set.StringVar(&s.vegeta, "vegeta", "bin/tools/vegeta", "the load generator's `path`")
	set.StringVar(&s.gatehouse, "gatehouse", "", "measure the proxy in this `file`, such as bin/gatehouse-xcaddy, in place of one that is built")
	set.StringVar(&list, "comparisons", "", "only these, by `name`, separated by commas: "+lab.Names(comparisons()))
	set.BoolVar(&each, "each", false, "measure each module alone, beside the same program with nothing configured")
	set.DurationVar(&s.soak, "soak", 0, "keep everything switched on under load for so `long` instead, at least 2m")
	err := lab.Parse(set, args, help)
	if err != nil {
		return s, err
	}
	if s.soak != 0 && s.soak < leastSoak {
		return s, fmt.Errorf("-soak: %s is less than %s", s.soak, leastSoak)
	}
	standard := 5
	if s.short {
		standard = 1
	}
	if s.rounds, err = lab.Rounds(s.rounds, standard); err != nil {
		return s, err
	}
	if s.rate < 10 || s.rate > 100000 {
		return s, fmt.Errorf("-rate: %d is not between 10 and 100000", s.rate)
	}
	all := comparisons()
	if each {
		all = eachComparisons()
	}
	if s.comparisons, err = lab.Only(all, list); err != nil {
		return s, fmt.Errorf("-comparisons: %w", err)
	}
	if s.short && list == "" && !each {
		s.comparisons = slices.DeleteFunc(s.comparisons, func(c comparison) bool { return !inShort(c) })
	}
	return s, nil
}

// printTargets writes orders with a key each, for vegeta's -format=json.
func printTargets(args []string, stdout, help io.Writer) error {
	var url, name string
	var n, repeat int
	set := flag.NewFlagSet("targets", flag.ContinueOnError)
	set.StringVar(&url, "url", "http://127.0.0.1:8080/orders", "where the orders go")
	set.StringVar(&name, "run", "run", "the `word` that this run's keys begin with: another one for each run")
	set.IntVar(&n, "n", 1000, "how `many`")
	set.IntVar(&repeat, "repeat", 1, "how many `times` each key is sent, one after the other")
	if err := lab.Parse(set, args, help); err != nil {
		return err
	}
	if n < 1 || repeat < 1 {
		return errors.New("targets: -n and -repeat must be above 0")
	}
	return writeTargets(stdout, n*repeat, func(i int) target { return order(url, name, i/repeat) })
}
