// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/cmd/origin/origin"
)

// maxListeners bounds one process.
const maxListeners = 64

// perListener collects the uses of a flag: one for all listeners, or one for each, in their order.
type perListener []string

// String implements flag.Value.
func (p *perListener) String() string { return strings.Join(*p, " ") }

// Set implements flag.Value.
func (p *perListener) Set(s string) error {
	*p = append(*p, s)
	return nil
}

// at returns the value for the listener of that index, or false if the flag was not used.
func (p *perListener) at(i int) (string, bool) {
	switch len(*p) {
	case 0:
		return "", false
	case 1:
		return (*p)[0], true
	default:
		return (*p)[i], true
	}
}

// plan is what the command line asks for; the three slices have one element a listener.
type plan struct {
	addresses []string
	names     []string
	settings  []origin.Settings
	options   origin.Options
}

// flags are the values as they stand on the command line.
type flags struct {
	listen, name                          string
	settings, latency, errorRate, workers perListener
	options                               origin.Options
}

func (f *flags) define(set *flag.FlagSet) {
	set.StringVar(&f.listen, "listen", "127.0.0.1:0", "the `addresses`, separated by commas; port 0 takes a free one")
	set.StringVar(&f.name, "name", "", "the listeners' `names`, separated by commas (default origin1,origin2,...)")
	set.Var(&f.latency, "latency", "a `distribution`: none, const:D, exp:MEAN, lognormal:MEAN,SIGMA")
	set.Var(&f.errorRate, "error-rate", "the `share` of requests that fail, 0 to 1")
	set.Var(&f.workers, "workers", "how many `requests` are worked on at a time; 0: no limit")
	set.Var(&f.settings, "settings", "the settings as a `JSON` object; -latency, -error-rate, -workers go before it")
	set.Uint64Var(&f.options.Seed, "seed", 1, "the `number` that the random choices follow from, above 0")
	set.IntVar(&f.options.MaxOrders, "max-orders", 100_000, "how many `keys` of orders are counted")
	set.Int64Var(&f.options.MaxBody, "max-body", 64<<20, "the largest request body in `bytes`")
	set.IntVar(&f.options.MaxQueue, "max-queue", 16_384, "how many `requests` of a listener wait for a worker")
	set.IntVar(&f.options.MaxStreams, "max-streams", 4096, "how many SSE and WebSocket `streams` a listener keeps open")
	set.IntVar(&f.options.MaxLines, "max-lines", 1<<20, "how many different log `lines` /ingest tells apart")
}

// parse reads the command line. For --help it prints the usage to help and returns flag.ErrHelp.
func parse(args []string, help io.Writer) (plan, error) {
	var f flags
	set := flag.NewFlagSet("origin", flag.ContinueOnError)
	set.SetOutput(io.Discard) // the error is printed once, in one line, by run
	f.define(set)
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprint(help, "origin: an upstream application for demos, tests and load\n"+
				"-latency, -error-rate, -workers and -settings hold for all listeners, or are repeated, one a listener.\n")
			set.SetOutput(help)
			set.PrintDefaults()
		}
		return plan{}, err
	}
	if set.NArg() > 0 {
		return plan{}, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	return f.plan()
}

func (f *flags) plan() (plan, error) {
	p := plan{options: f.options, addresses: strings.Split(f.listen, ",")}
	n := len(p.addresses)
	if n > maxListeners {
		return p, fmt.Errorf("--listen: %d addresses are more than %d", n, maxListeners)
	}
	if err := f.checkLimits(); err != nil {
		return p, err
	}
	var err error
	if p.names, err = f.names(n); err != nil {
		return p, err
	}
	for _, used := range []struct {
		flag  string
		times int
	}{
		{"--latency", len(f.latency)},
		{"--error-rate", len(f.errorRate)},
		{"--workers", len(f.workers)},
		{"--settings", len(f.settings)},
	} {
		if used.times > 1 && used.times != n {
			return p, fmt.Errorf("%s: used %d times for %d listeners", used.flag, used.times, n)
		}
	}
	for i := range n {
		s, err := f.settingsOf(i)
		if err != nil {
			return p, err
		}
		p.settings = append(p.settings, s)
	}
	return p, nil
}

// checkLimits refuses what origin.Options would take for "the default".
func (f *flags) checkLimits() error {
	o := f.options
	if o.Seed == 0 || o.MaxBody <= 0 || min(o.MaxOrders, o.MaxQueue, o.MaxStreams, o.MaxLines) <= 0 {
		return errors.New("--seed and the --max flags must be above 0")
	}
	return nil
}

func (f *flags) names(n int) ([]string, error) {
	var names []string
	if f.name != "" {
		names = strings.Split(f.name, ",")
	} else {
		for i := range n {
			names = append(names, "origin"+strconv.Itoa(i+1))
		}
	}
	if len(names) != n {
		return nil, fmt.Errorf("--name: %d names for %d listeners", len(names), n)
	}
	seen := make(map[string]bool, n)
	for _, name := range names {
		if seen[name] {
			return nil, fmt.Errorf("--name: %q stands there twice", name)
		}
		seen[name] = true
	}
	return names, nil
}

// settingsOf reads the settings of one listener; origin checks their bounds.
func (f *flags) settingsOf(i int) (s origin.Settings, err error) {
	if v, ok := f.settings.at(i); ok {
		if s, err = origin.ParseSettings([]byte(v)); err != nil {
			return s, fmt.Errorf("--settings: %w", err)
		}
	}
	if v, ok := f.latency.at(i); ok {
		s.Latency = v
	}
	if v, ok := f.errorRate.at(i); ok {
		if s.ErrorRate, err = strconv.ParseFloat(v, 64); err != nil {
			return s, fmt.Errorf("--error-rate: %q is not a number", v)
		}
	}
	if v, ok := f.workers.at(i); ok {
		if s.Workers, err = strconv.Atoi(v); err != nil {
			return s, fmt.Errorf("--workers: %q is not a number", v)
		}
	}
	return s, nil
}

// listeners makes the application and its listeners.
func (p plan) listeners() ([]*origin.Listener, error) {
	app := origin.NewApp(p.options)
	listeners := make([]*origin.Listener, 0, len(p.names))
	for i, name := range p.names {
		l, err := app.Listener(name, p.settings[i])
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}
