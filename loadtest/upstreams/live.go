// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// The times of one run: the counted part follows the warm-up without a pause.
const (
	warmUp       = 5 * time.Second
	counted      = 18 * time.Second
	shortWarmUp  = 2 * time.Second
	shortCounted = 6 * time.Second
)

func (s settings) times() (warm, count time.Duration) {
	if s.short {
		return shortWarmUp, shortCounted
	}
	return warmUp, counted
}

// live measures every contender in every scenario, round by round.
func (b *bench) live(ctx context.Context) (text string, met bool, err error) {
	before := lab.Load()
	var cells []cell
	trials := plan(b.settings.scenarios, b.contenders, b.settings.rounds)
	for i, next := range trials {
		lab.Say(b.progress, "%d of %d: round %d, %s, %s", i+1, len(trials), next.round+1, next.scenario.name, next.contender.title)
		var more []cell
		more, err = b.try(ctx, next)
		cells = append(cells, more...)
		if err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if len(cells) == 0 {
		return "", false, err
	}
	whole := err == nil
	text, met = liveReport(b, cells, whole, before)
	return text, met, err
}

// try measures until the run is valid, and returns those that were not as well.
func (b *bench) try(ctx context.Context, t trial) (cells []cell, err error) {
	for range 1 + maxRepeats {
		f, err := b.measure(ctx, t)
		if err != nil {
			return cells, err
		}
		cells = append(cells, cell{t.scenario.name, t.contender.name, t.round, f})
		lab.Say(b.progress, "    mean %.1f p99 %.0f p99.9 %.0f ms, %.2f %% to the ill one, %d errors, %.2f %% sent late",
			f.mean, f.p99, f.p999, 100*f.toIll, f.errors, 100*f.late)
		if f.valid() {
			break
		}
		lab.Say(b.progress, "    not counted: the generator was late by %.0f ms", f.lag)
	}
	return cells, nil
}

// trial is one cell to measure.
type trial struct {
	scenario  scenario
	contender contender
	round     int
}

// plan interleaves: in each round each scenario, in each scenario all contenders one after another, beginning with
// another one each round, so that none is always the one after the same neighbor's heat.
func plan(scenarios []scenario, contenders []contender, rounds int) []trial {
	var trials []trial
	for round := range rounds {
		first := round % len(contenders)
		order := slices.Concat(contenders[first:], contenders[:first])
		for _, s := range scenarios {
			for _, c := range order {
				trials = append(trials, trial{s, c, round})
			}
		}
	}
	return trials
}

// measure runs one cell: upstreams that are well again, a proxy that knows nothing yet.
func (b *bench) measure(ctx context.Context, t trial) (figures, error) {
	if err := b.origins.Reset(ctx, well); err != nil {
		return figures{}, err
	}
	if t.scenario.steady != "" {
		if err := b.origins.Set(ctx, http.MethodPatch, illUpstream, t.scenario.steady); err != nil {
			return figures{}, err
		}
	}
	p, err := b.startProxy(ctx, t.contender)
	if err != nil {
		return figures{}, err
	}
	defer p.Stop()
	f, err := b.run(ctx, t, p)
	if err != nil {
		return f, fmt.Errorf("%s, %s: %w", t.scenario.name, t.contender.title, err)
	}
	return f, nil
}

// run drives the proxy and makes the upstream ill. Contenders meet the same arrivals in a round.
func (b *bench) run(ctx context.Context, t trial, p *lab.Proxy) (figures, error) {
	warm, count := b.settings.times()
	due := lab.Poisson(liveRate, warm+count, uint64(t.round)+1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g, closeIdle := lab.NewGenerator(p.URL)
	defer closeIdle()
	begin := time.Now()
	var before reading
	conducted := make(chan error, 1)
	go func() {
		err := b.conduct(ctx, t.scenario, begin, func() (err error) {
			before, err = b.read(ctx, p)
			return err
		})
		if err != nil {
			cancel(err)
		}
		conducted <- err
	}()
	samples := g.Drive(ctx, begin, due)
	if err := <-conducted; err != nil {
		return figures{}, err
	}
	after, err := b.read(ctx, p)
	if err != nil {
		return figures{}, err
	}
	first, _ := slices.BinarySearch(due, warm)
	f := summarize(samples[first:])
	f.toIll = lab.Share(before.origins, after.origins, illUpstream)
	f.cpu = lab.PerRequest(before.cpu, after.cpu, f.requests)
	return f, nil
}

// conduct sets the faults at their times, and calls count when the counted time begins.
func (b *bench) conduct(ctx context.Context, s scenario, begin time.Time, count func() error) error {
	warm, counted := b.settings.times()
	events := []event{{warm, count}}
	if s.faults != nil {
		for _, f := range s.faults(warm, counted) {
			events = append(events, event{f.at, func() error {
				return b.origins.Set(ctx, http.MethodPatch, illUpstream, f.patch)
			}})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, e := range events {
		if !lab.SleepUntil(ctx, begin.Add(e.at)) {
			return context.Cause(ctx)
		}
		if err := e.do(); err != nil {
			return err
		}
	}
	return nil
}

// event is something to do at a time of a run.
type event struct {
	at time.Duration
	do func() error
}

// reading is what the counters say at one time.
type reading struct {
	origins []lab.Stats
	cpu     float64
}

func (b *bench) read(ctx context.Context, p *lab.Proxy) (r reading, err error) {
	select {
	case <-p.Ended:
		return r, fmt.Errorf("the proxy ended: %s", p.Log)
	default:
	}
	if r.origins, err = b.origins.Stats(ctx); err != nil {
		return r, err
	}
	r.cpu, err = p.CPU()
	return r, err
}
