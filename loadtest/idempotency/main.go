// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command idempotency breaks everything around idempotency_key at once, and counts what took effect: several proxy processes
// that are killed, a Redis that is cut off, killed and restarted, an application that resets connections, is slow and truncates
// its answers, and clients that leave and send everything many times. Two simpler algorithms are its controls: it must
// find their duplicates, or it proves nothing.
//
//	main.go    flags and report      world.go   processes and faults     application.go  what takes effect
//	clients.go who sends             proxy.go   one proxy process        control.go      the other algorithms
//	cost.go    what it costs where nothing breaks
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// settings are what one run is made of.
type settings struct {
	algorithm  string
	seed       uint64
	keys       int
	duplicates int
	proxies    int
	faults     faults
	// patience is how long clients try, and how long a key may take after the faults have ended before it counts as wedged.
	patience time.Duration
}

// faults say what breaks.
type faults struct {
	// kill is the time between two kills of a proxy, 0 for none; cut that between two cuts of all connections to Redis;
	// restart that between two kills of Redis itself.
	kill, cut, restart time.Duration
	// upstream lets the application misbehave, leave lets clients leave.
	upstream, leave bool
}

// onlyCuts reports whether nothing breaks but connections to Redis.
func (f faults) onlyCuts() bool { return f == faults{cut: f.cut} && f.cut > 0 }

func faultsNamed(name string) (faults, error) {
	switch name {
	case "all":
		return faults{kill: 500 * time.Millisecond, cut: 200 * time.Millisecond, restart: 2 * time.Second, upstream: true, leave: true}, nil
	case "kill":
		return faults{kill: 500 * time.Millisecond}, nil
	case "redis":
		return faults{cut: 200 * time.Millisecond}, nil
	case "none":
		return faults{}, nil
	}
	return faults{}, fmt.Errorf("faults: expected all, kill, redis or none, found %q", name)
}

func main() {
	if config := os.Getenv(proxyVariable); config != "" {
		serveProxy(config)
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "idempotency:", err)
		os.Exit(1)
	}
}

func run() error {
	s := settings{}
	var name string
	seeds := flag.String("seed", "", "seed of all chance (default: SEED in the environment, else 1)")
	flag.StringVar(&s.algorithm, "algorithm", "gatehouse", "gatehouse, precise, or the controls lock-ttl and set-nx")
	flag.IntVar(&s.keys, "keys", 10_000, "operations")
	flag.IntVar(&s.duplicates, "duplicates", 16, "clients that send each at once")
	flag.IntVar(&s.proxies, "proxies", 5, "proxy processes")
	flag.DurationVar(&s.patience, "patience", 30*time.Second, "how long clients try")
	cost := flag.Bool("cost", false, "measure what idempotency_key adds to requests, instead of breaking things")
	flag.StringVar(&name, "faults", "all", "all, kill, redis or none")
	flag.Parse()
	var err error
	if s.faults, err = faultsNamed(name); err != nil {
		return err
	}
	if s.seed, err = seedOf(*seeds); err != nil {
		return err
	}
	if err := lab.EnoughCores(lab.Short()); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if *cost {
		return lab.Interrupted(ctx, s.measureCost(ctx))
	}
	if _, err := lab.NeedRedis(); err != nil {
		return err
	}
	found, err := s.try(ctx)
	if found.took > 0 {
		fmt.Println(found)
	}
	if err != nil || ctx.Err() != nil {
		return lab.Interrupted(ctx, err)
	}
	return found.verdict()
}

func seedOf(text string) (uint64, error) {
	if text == "" {
		text = os.Getenv("SEED")
	}
	if text == "" {
		return 1, nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("seed: expected a whole number, found %q", text)
	}
	return seed, nil
}

// findings are what a run showed.
type findings struct {
	settings
	took                          time.Duration
	requests, kills, cuts, reboot int64
	effects                       int
	duplicated, divergent, wedged int
	unknown, falsely              int
}

// String is the report.
func (f findings) String() string {
	return fmt.Sprintf("%s, seed %d: %d keys x %d clients, %d proxies, %.0f s, %d requests, %d proxies killed, %d cuts and %d kills of Redis\n"+
		"  duplicate effects %d, keys with divergent answers %d, wedged keys %d\n"+
		"  unknown outcomes %d (%.2f %% of keys), of which nothing had happened %d (%.2f %%)",
		f.algorithm, f.seed, f.keys, f.duplicates, f.proxies, f.took.Seconds(), f.requests, f.kills, f.cuts, f.reboot,
		f.duplicated, f.divergent, f.wedged,
		f.unknown, 100*float64(f.unknown)/float64(f.keys), f.falsely, 100*float64(f.falsely)/float64(f.keys))
}

// broken reports whether the promise was broken.
func (f findings) broken() bool { return f.duplicated > 0 || f.divergent > 0 || f.wedged > 0 }

// verdict fails a run of Gatehouse that broke the promise, and one of a control that kept it.
func (f findings) verdict() error {
	control := f.algorithm == algorithmLock || f.algorithm == algorithmSetNX
	switch {
	case !control && f.broken():
		return fmt.Errorf("the promise is broken; SEED=%d shows it again", f.seed)
	case !control && f.faults.onlyCuts() && f.unknown > 0:
		return fmt.Errorf("%d outcomes are unknown, though only connections to Redis were cut", f.unknown)
	case !control && f.falsely*50 > f.keys:
		return fmt.Errorf("%d of %d outcomes are unknown though nothing had happened: more than 2 %%", f.falsely, f.keys)
	case control && f.duplicated == 0:
		return fmt.Errorf("the control %s duplicated nothing: these faults prove nothing", f.algorithm)
	}
	return nil
}
