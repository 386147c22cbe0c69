// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command chaos breaks everything around three proxies that share a Redis, while they are under load, and counts what clients,
// upstreams and the receiver of logs saw: what failed, was lost, came twice, got through though it should not, or was cut.
//
//	go run ./loadtest/chaos [-cycles 4] [-seed 1]
//	go run ./loadtest/chaos -control
//
// A cycle has every fault once: a proxy is killed, an upstream killed, slowed and frozen, configs are reloaded, good and
// broken ones, clients banned and let in, cached answers purged, an upstream and a proxy drained, the disk of a spool filled,
// Redis killed and stopped. Meanwhile 250 WebSockets and event streams are open through proxies that are not killed.
//
// The program ends with status 1 if a promise was broken. With -control the same runs against a configuration as one would
// write it in Caddy without Gatehouse's shared state: it must break every promise, or the faults prove nothing.
//
//	main.go   flags and verdict      world.go   what runs                faults.go   what breaks
//	proxy.go  one proxy process      load.go    GETs and orders          watch.go    limits, bans, purges
//	streams.go                       receiver.go  where logs arrive      findings.go what was seen
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// settings are the command line.
type settings struct {
	cycles  int
	seed    uint64
	rate    int // GETs a second
	streams int
	control bool
	short   bool
}

func main() {
	if os.Getenv(proxyVariable) != "" {
		runProxy()
		return
	}
	lab.Main(run)
}

// run is the program without its process. The result is the exit status: 2 for a wrong command line, 1 for a failure or a
// broken promise.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	return lab.Status("chaos", stderr, err, func() error {
		found, err := s.checkAndTry(ctx, stderr)
		if found != nil {
			lab.Say(stdout, "%s", found)
		}
		if err == nil {
			err = found.verdict()
		}
		return lab.Interrupted(ctx, err)
	})
}

// checkAndTry is one run, where it can be.
func (s settings) checkAndTry(ctx context.Context, progress io.Writer) (*findings, error) {
	if err := lab.EnoughCores(s.short); err != nil {
		return nil, err
	}
	if _, err := lab.NeedRedis(); err != nil {
		return nil, err
	}
	return s.try(ctx, progress)
}

// parse reads the command line.
func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.BoolVar(&s.short, "short", lab.Short(), "one cycle")
	set.IntVar(&s.cycles, "cycles", 0, "how many `times` everything breaks (default 4, or 1 with -short)")
	set.Uint64Var(&s.seed, "seed", 1, "the `number` that the order of the faults follows from; the first cycle has the order of the source")
	set.IntVar(&s.rate, "rate", 150, "GETs a `second`")
	set.IntVar(&s.streams, "streams", 250, "how `many` WebSockets and event streams are open")
	set.BoolVar(&s.control, "control", false, "run the configuration that must break every promise")
	if err := lab.Parse(set, args, help); err != nil {
		return s, err
	}
	if s.cycles == 0 {
		s.cycles = 4
		if s.short {
			s.cycles = 1
		}
	}
	if s.cycles < 0 || s.rate < 10 || s.rate > 5000 || s.streams < 2 || s.streams > 4000 {
		return s, fmt.Errorf("expected cycles above 0, 10 to 5000 GETs a second and 2 to 4000 streams")
	}
	return s, nil
}
