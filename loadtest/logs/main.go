// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command logs checks that `output ship` loses no line, by breaking everything around it: the receivers go away and stall, the
// proxy is killed and told to end in the middle of that, its config is reloaded, Redis is killed. Beside it, before the
// same faults and as much load, run two controls that must lose lines, or the faults were none: a writer with a channel
// and a goroutine behind it, as most log plugins are made, and Caddy's own `net` writer.
//
//	go run ./loadtest/logs [-rate 5000] [-control 500] [-outage 10m] [-kills 20] [-reloads 50] [-spool 0]
//
// The outage lasts until as many lines wait as the rate makes in its time, also on a machine that is too slow for the rate.
// A line counts as lost if a client has received its response whole and no receiver has the line in the end. The program
// prints what each writer lost, and ends with status 1 if `ship` lost a line, or says that it dropped one, if a control lost none,
// or if the proxy took more memory than it may. With a spool that is too small, what is lost must be what the proxy counts as
// dropped; the status is 1 all the same.
//
//	go run ./loadtest/logs -slow [-rate 1000] [-round 2s] [-rounds 24]
//
// measures what clients notice of a sink that is dead, that accepts and never reads, or that reads a byte a second, beside two
// healthy ones, which tell how much two of the same differ; and the memory that each proxy takes in the end.
//
// Ctrl-C ends everything that was started, and prints what was counted by then, without a verdict.
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
	rate    int // requests a second
	control int // and those of each control
	outage  time.Duration
	kills   int
	reloads int
	spool   int // MiB; zero sizes it to the outage
	slow    bool
	round   time.Duration
	rounds  int
}

func main() {
	if os.Getenv(proxyVariable) != "" {
		runProxy()
		return
	}
	lab.Main(run)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	return lab.Status("logs", stderr, err, func() error {
		if s.slow {
			return s.runSlow(ctx, stdout)
		}
		results, err := s.measure(ctx, func(format string, a ...any) { lab.Say(stderr, format, a...) })
		if len(results) > 0 {
			printResults(stdout, results)
		}
		if err == nil {
			err = errors.Join(judge(results), judgeMemory(results))
		}
		return err
	})
}

// parse reads the command line.
func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("logs", flag.ContinueOnError)
	flags.IntVar(&s.rate, "rate", 1000, "requests a second")
	flags.IntVar(&s.control, "control", 0, "requests a second to each control (default as many)")
	flags.DurationVar(&s.outage, "outage", 20*time.Second, "how long the receivers are away")
	flags.IntVar(&s.kills, "kills", 20, "how often the proxy is killed")
	flags.IntVar(&s.reloads, "reloads", 50, "how often its config is reloaded")
	flags.IntVar(&s.spool, "spool", 0, "size of the spool in MiB (default: what the outage needs)")
	flags.BoolVar(&s.slow, "slow", false, "measure what clients notice of bad sinks instead")
	flags.DurationVar(&s.round, "round", 2*time.Second, "how long each turn of a sink in -slow lasts")
	flags.IntVar(&s.rounds, "rounds", 24, "how many turns each sink has")
	if err := lab.Parse(flags, args, help); err != nil {
		return s, err
	}
	if s.control == 0 {
		s.control = s.rate
	}
	return s, s.check()
}

// check is what has to hold before anything starts.
func (s settings) check() error {
	if s.rate < 1 || s.control < 1 || s.outage <= 0 || s.kills < 0 || s.reloads < 0 || s.spool < 0 || s.round <= 0 || s.rounds < 1 {
		return errors.New("expected rates, times and rounds above 0, and no number below it")
	}
	if !s.slow {
		if _, err := lab.NeedRedis(); err != nil {
			return err
		}
	}
	return lab.EnoughCores(lab.Short())
}

func printResults(stdout io.Writer, results []result) {
	_, _ = fmt.Fprintf(stdout, "| writer | responses received | lines lost | counted as dropped | lines twice | batches twice | most memory (RSS) |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range results {
		_, _ = fmt.Fprintf(stdout, "| %s | %d | %d | %d | %d | %d | %d MiB |\n", r.name, r.received, r.lost, r.dropped, r.twice, r.repeats, r.peak>>20)
	}
}

// result is what one receiver has got of what one proxy has logged.
type result struct {
	name                  string
	received, lost, twice int
	repeats               int    // batches that came again
	faults                int    // that may cost one of those each
	stray                 int    // lines that came again otherwise
	dropped               uint64 // lines that the proxy says it has dropped, or put aside
	peak                  int64
	control               bool
}

// judge is an error if a line was lost that must not be, or none where the faults must cost some; or if more came twice than a
// batch for each fault.
func judge(results []result) error {
	for _, r := range results {
		switch {
		case r.received == 0:
			return fmt.Errorf("%s: no response was received", r.name)
		case r.control && r.lost == 0:
			return fmt.Errorf("%s lost nothing: the faults were none", r.name)
		case !r.control && r.lost > 0:
			return fmt.Errorf("%s lost %d lines; the proxy counts %d as dropped", r.name, r.lost, r.dropped)
		case r.dropped > 0: // of requests whose clients did not get the response
			return fmt.Errorf("%s counts %d lines as dropped", r.name, r.dropped)
		case !r.control && (r.repeats > r.faults || r.stray > 0):
			return fmt.Errorf("%s sent %d batches again, for %d faults, and %d lines besides", r.name, r.repeats, r.faults, r.stray)
		}
	}
	return nil
}

// judgeMemory is an error if a proxy took too much memory. How much that is at most depends on the collector's timing, so it is
// no part of judge.
func judgeMemory(results []result) error {
	for _, r := range results {
		if !r.control && r.peak > memoryLimit {
			return fmt.Errorf("%s took %d MiB of memory, more than %d", r.name, r.peak>>20, int64(memoryLimit)>>20)
		}
	}
	return nil
}
