// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// costRate is what a small machine serves beside the generator and the upstreams without a queue anywhere.
const costRate = 1000

// The times of the cost measurement: a proxy is warmed up once a round, and each part of a block is counted.
const (
	costWarmUp      = 3 * time.Second
	costPart        = 4 * time.Second
	shortCostWarmUp = time.Second
	shortCostPart   = time.Second
)

// block is a contender beside least_conn in the order ABBA, which cancels what drifts evenly: microseconds of CPU a
// request, of two processes that live at the same time.
type block struct {
	contender       string
	round           int
	base, contended float64
}

func (b block) ratio() float64 { return b.contended / b.base }

// cost measures every contender beside least_conn, round by round, each round with new processes.
func (b *bench) cost(ctx context.Context) (text string, met bool, err error) {
	if len(b.contenders) < 2 || b.contenders[0].name != leastConn || b.contenders[1].name != again {
		return "", false, errors.New("-cost compares with least_conn and needs it twice: name least_conn,least_conn_again too")
	}
	if _, err := cpuTime(b.origins.running.cmd.Process.Pid); err != nil {
		return "", false, fmt.Errorf("-cost needs the CPU times in /proc: %w", err)
	}
	before := load()
	if err := b.origins.reset(ctx, `{}`); err != nil {
		return "", false, err
	}
	var blocks []block
	for round := range b.settings.rounds {
		var more []block
		more, err = b.costRound(ctx, round)
		blocks = append(blocks, more...)
		if err != nil {
			if ctx.Err() != nil {
				err = errors.New("interrupted")
			}
			break
		}
	}
	if len(blocks) == 0 {
		return "", false, err
	}
	whole := err == nil
	text, met = costReport(b, blocks, whole, before)
	return text, met, err
}

// costRound returns the blocks that were finished, also if it fails.
func (b *bench) costRound(ctx context.Context, round int) (blocks []block, err error) {
	warm, part := costWarmUp, costPart
	if b.settings.short {
		warm, part = shortCostWarmUp, shortCostPart
	}
	proxies := make([]*proxy, len(b.contenders))
	defer func() {
		for _, p := range proxies {
			if p != nil {
				p.stop()
			}
		}
	}()
	for i, c := range b.contenders {
		if proxies[i], err = b.startProxy(ctx, c); err != nil {
			return blocks, err
		}
		if _, err = b.part(ctx, proxies[i], warm); err != nil {
			return blocks, err
		}
	}
	rivals := len(b.contenders) - 1
	for i := range rivals {
		at := 1 + (i+round)%rivals
		used, err := b.abba(ctx, proxies[0], proxies[at], part)
		if err != nil {
			return blocks, err
		}
		used.contender, used.round = b.contenders[at].name, round
		blocks = append(blocks, used)
		say(b.progress, "round %d/%d, %s: %.1f us a request, least_conn %.1f, ratio %.3f", round+1, b.settings.rounds,
			b.contenders[at].title, used.contended, used.base, used.ratio())
	}
	return blocks, nil
}

// abba measures base, rival, rival, base.
func (b *bench) abba(ctx context.Context, base, rival *proxy, length time.Duration) (block, error) {
	var parts []float64
	for _, p := range []*proxy{base, rival, rival, base} {
		used, err := b.part(ctx, p, length)
		if err != nil {
			return block{}, err
		}
		parts = append(parts, used)
	}
	return block{base: (parts[0] + parts[3]) / 2, contended: (parts[1] + parts[2]) / 2}, nil
}

// part drives a proxy for a while and returns the microseconds of CPU that each request took.
func (b *bench) part(ctx context.Context, p *proxy, length time.Duration) (float64, error) {
	g, closeIdle := newGenerator(p.url)
	defer closeIdle()
	before, err := b.read(ctx, p)
	if err != nil {
		return 0, err
	}
	samples := g.drive(ctx, time.Now(), constant(costRate, length))
	after, err := b.read(ctx, p)
	if err != nil {
		return 0, err
	}
	if i := slices.IndexFunc(samples, func(s sample) bool { return s.failed }); i >= 0 {
		return 0, fmt.Errorf("request %d of %d failed, though nothing is ill", i+1, len(samples))
	}
	return 1000 * perRequest(before.cpu, after.cpu, len(samples)), nil
}
