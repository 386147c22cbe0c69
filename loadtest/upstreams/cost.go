// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// costRate is what a small machine serves beside the generator and the upstreams without a queue anywhere.
const costRate = 1000

// The times of the cost measurement. A process is a little dearer or cheaper than the next one of the same program for as
// long as it lives, so many short rounds, each with new processes, tell more than a few long ones.
const (
	costRounds      = 13
	costWarmUp      = 2 * time.Second
	costBlock       = 5 * time.Second
	shortCostWarmUp = time.Second
	shortCostBlock  = 3 * time.Second
)

// block is a contender beside least_conn: microseconds of CPU a request, of two processes in the same seconds.
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
	if used, err := b.origins.Running.CPU(); err != nil || math.IsNaN(used) {
		return "", false, errors.New("-cost needs the CPU times in /proc, which only Linux has")
	}
	before := lab.Load()
	if err := b.origins.Reset(ctx, `{}`); err != nil {
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

func (s settings) costTimes() (warm, block time.Duration) {
	if s.short {
		return shortCostWarmUp, shortCostBlock
	}
	return costWarmUp, costBlock
}

// costRound returns the blocks that were finished, also if it fails.
func (b *bench) costRound(ctx context.Context, round int) (blocks []block, err error) {
	warm, length := b.settings.costTimes()
	proxies := make([]*lab.Proxy, len(b.contenders))
	defer func() {
		for _, p := range proxies {
			if p != nil {
				p.Stop()
			}
		}
	}()
	for i, c := range b.contenders {
		if proxies[i], err = b.startProxy(ctx, c); err != nil {
			return blocks, err
		}
		if err = driveWell(ctx, proxies[i], lab.Constant(costRate, warm)); err != nil {
			return blocks, err
		}
	}
	rivals := len(b.contenders) - 1
	for i := range rivals {
		at := 1 + (i+round)%rivals
		used, err := b.abba(ctx, proxies[0], proxies[at], length)
		if err != nil {
			return blocks, err
		}
		used.contender, used.round = b.contenders[at].name, round
		blocks = append(blocks, used)
		lab.Say(b.progress, "round %d/%d, %s: %.1f us a request, least_conn %.1f, ratio %.3f", round+1, b.settings.rounds,
			b.contenders[at].title, used.contended, used.base, used.ratio())
	}
	return blocks, nil
}

// abba drives both at once, their requests in the order base, rival, rival, base: whatever the machine does besides, it
// does to both.
func (b *bench) abba(ctx context.Context, base, rival *lab.Proxy, length time.Duration) (block, error) {
	due := lab.Turns(lab.Constant(costRate, length))
	proxies := [2]*lab.Proxy{base, rival}
	var before, after [2]reading
	var failed [2]error
	var err error
	for i, p := range proxies {
		if before[i], err = b.read(ctx, p); err != nil {
			return block{}, err
		}
	}
	var both sync.WaitGroup
	for i, p := range proxies {
		both.Go(func() { failed[i] = driveWell(ctx, p, due[i]) })
	}
	both.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return block{}, err
	}
	var used [2]float64
	for i, p := range proxies {
		if after[i], err = b.read(ctx, p); err != nil {
			return block{}, err
		}
		used[i] = 1000 * lab.PerRequest(before[i].cpu, after[i].cpu, len(due[i]))
	}
	return block{base: used[0], contended: used[1]}, nil
}

// driveWell fails if a request does.
func driveWell(ctx context.Context, p *lab.Proxy, due []time.Duration) error {
	g, closeIdle := lab.NewGenerator(p.URL)
	defer closeIdle()
	samples := g.Drive(ctx, time.Now(), due)
	if err := ctx.Err(); err != nil {
		return err
	}
	if i := slices.IndexFunc(samples, func(s lab.Sample) bool { return s.Failed }); i >= 0 {
		return fmt.Errorf("request %d of %d failed, though nothing is ill", i+1, len(samples))
	}
	return nil
}
