// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// times of a block.
type times struct {
	warmUp time.Duration // both contenders together, as fast as they answer: a heap costs most until it was used once
	settle time.Duration // at the block's rate
	block  time.Duration // both contenders together
	loaded time.Duration // both contenders together, without leads
	lead   time.Duration // of each attack at a loaded rate: what opens the connections of an open loop is not timed
}

func (s settings) times() times {
	if s.short {
		return times{
			warmUp: 2 * time.Second, settle: 500 * time.Millisecond, block: 3 * time.Second,
			loaded: 4 * time.Second, lead: time.Second,
		}
	}
	return times{
		warmUp: 4 * time.Second, settle: 500 * time.Millisecond, block: 7 * time.Second,
		loaded: 12 * time.Second, lead: 2 * time.Second,
	}
}

// loadedShare is which part of its greatest rate a loaded proxy gets.
const loadedShare = 0.7

// pair are the two proxies of a comparison while they run.
type pair struct {
	comparison  comparison
	base, rival *lab.Proxy
	round       int
	begun       int    // numbers that requests have used up: each is of its own
	answered    [2]int // requests of base and rival, the warm-up's among them
}

func (p *pair) stop() {
	for _, proxy := range []*lab.Proxy{p.base, p.rival} {
		if proxy != nil {
			proxy.Stop()
		}
	}
}

func (p *pair) proxies() [2]*lab.Proxy { return [2]*lab.Proxy{p.base, p.rival} }

// compare measures one comparison with new processes.
func (b *bench) compare(ctx context.Context, c comparison, round int) (done block, err error) {
	if err := b.origins.Reset(ctx, `{}`); err != nil {
		return done, err
	}
	before, err := b.ingested(ctx)
	if err != nil {
		return done, err
	}
	p := &pair{comparison: c, round: round}
	defer p.stop()
	if p.base, err = b.startProxy(ctx, named(c.base)); err != nil {
		return done, err
	}
	if p.rival, err = b.startProxy(ctx, named(c.rival)); err != nil {
		return done, err
	}
	if done, err = b.measure(ctx, p); err == nil {
		err = b.shipped(ctx, before, c.lines(p.answered))
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", c.name, err)
	}
	return done, err
}

func (b *bench) measure(ctx context.Context, p *pair) (block, error) {
	t := b.settings.times()
	warm, err := b.inTurns(ctx, p, 0, t.warmUp, 0)
	if err != nil {
		return block{}, err
	}
	switch p.comparison.method {
	case maximum:
		return b.inTurns(ctx, p, 0, t.block, 0)
	case loaded:
		rate := int(loadedShare * min(warm.base.rate, warm.rival.rate))
		return b.inTurns(ctx, p, max(rate, 1), t.loaded, t.lead)
	default:
		if _, err := b.together(ctx, p, b.settings.rate, t.settle); err != nil {
			return block{}, err
		}
		return b.together(ctx, p, b.settings.rate, t.block)
	}
}

// together drives both at once.
func (b *bench) together(ctx context.Context, p *pair, rate int, length time.Duration) (block, error) {
	n := int(float64(rate)*length.Seconds()) + 1
	before, err := b.read(ctx, p)
	if err != nil {
		return block{}, err
	}
	a := attack{rate: rate, length: length, targets: n, of: func(i int) target {
		return p.target((i%4+1)/2%2, i)
	}}
	p.begun += n
	results, err := a.run(ctx, b.programs.vegeta, b.folder)
	if err != nil {
		return block{}, err
	}
	all := timing(results, rate)
	took := seconds(all)
	return b.finish(ctx, p, before, [2][]timed{sentTo(all, p.base.Base+"/"), sentTo(all, p.rival.Base+"/")}, [2]float64{took, took})
}

// lines are how many its contenders log to the receiver for so many requests each.
func (c comparison) lines(answered [2]int) int {
	lines := 0
	for i, name := range [2]string{c.base, c.rival} {
		if named(name).ships() {
			lines += answered[i]
		}
	}
	return lines
}

// ingested is what the receiver of logs has got.
type ingested struct {
	Lines   int `json:"lines"`
	Refused int `json:"refused"`
}

func (b *bench) ingested(ctx context.Context) (got ingested, err error) {
	if err = b.origins.Ask(ctx, http.MethodGet, receiver, "/ingest", "", &got); err != nil {
		err = fmt.Errorf("asking the receiver of logs: %w", err)
	}
	return got, err
}

// since is whether so many lines have arrived after another reading, and an error if some never will.
func (i ingested) since(before ingested, lines int) (bool, error) {
	if i.Refused > before.Refused {
		return false, fmt.Errorf("the receiver of logs refused %d batches", i.Refused-before.Refused)
	}
	return i.Lines-before.Lines >= lines, nil
}

// shipped waits until as many lines have arrived as requests were answered: a contender whose lines stay on its disk does less
// than what it is compared for. Those of the warm-up count too, or they would stand for as many lost ones.
func (b *bench) shipped(ctx context.Context, before ingested, lines int) error {
	const patience = 20 * time.Second
	for deadline := time.Now().Add(patience); ; {
		now, err := b.ingested(ctx)
		if err != nil {
			return err
		}
		if done, err := now.since(before, lines); done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d log lines arrived within %s, of at least %d", now.Lines-before.Lines, patience, lines)
		}
		if !lab.SleepUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			return context.Cause(ctx)
		}
	}
}

// inTurns drives one after the other: base, rival, rival, base, each of the four attacks with a lead
// whose latencies are not counted.
func (b *bench) inTurns(ctx context.Context, p *pair, rate int, length, lead time.Duration) (block, error) {
	before, err := b.read(ctx, p)
	if err != nil {
		return block{}, err
	}
	n, each := closedTargets, length/4+lead
	if rate > 0 {
		n = int(float64(rate)*each.Seconds()) + 1
	}
	var all [2][]timed
	var took [2]float64
	for _, at := range [...]int{0, 1, 1, 0} {
		a := attack{rate: rate, length: each, targets: n, of: func(i int) target { return p.target(at, i) }}
		results, err := a.run(ctx, b.programs.vegeta, b.folder)
		if err != nil {
			return block{}, err
		}
		p.begun += n
		attacked := leading(timing(results, rate), int(float64(rate)*lead.Seconds()))
		all[at], took[at] = append(all[at], attacked...), took[at]+seconds(attacked)
	}
	return b.finish(ctx, p, before, all, took)
}

// closedTargets is how many different requests a closed loop has: more than it can send, else misses become hits.
const closedTargets = 100000

// target is the i-th request of an attack on one of the two.
func (p *pair) target(at, i int) target {
	return numbered(p.proxies()[at].Base, p.comparison.uri, p.begun+i)
}

// finish makes figures of results, and checks that the contenders did what they are compared for.
func (b *bench) finish(ctx context.Context, p *pair, before reading, all [2][]timed, took [2]float64) (block, error) {
	after, err := b.read(ctx, p)
	if err != nil {
		return block{}, err
	}
	var made [2]figures
	for i, status := range [2]int{http.StatusOK, p.comparison.status} {
		f := summarize(all[i], took[i], status)
		if f.requests == 0 {
			return block{}, fmt.Errorf("%s got no request", p.name(i))
		}
		if f.wrong > 0 {
			return block{}, fmt.Errorf("%s: %d of %d answers were not %d, the first: %s", p.name(i), f.wrong, f.requests, status, f.firstWrong)
		}
		f.cpu = 1000 * lab.PerRequest(before.cpu[i], after.cpu[i], f.requests)
		f.resident = after.resident[i] / (1 << 20)
		made[i] = f
		p.answered[i] += f.requests
	}
	if err := p.comparison.reached(after.upstream-before.upstream, made[0].requests, made[1].requests); err != nil {
		return block{}, err
	}
	return block{p.comparison.name, p.round, made[0], made[1]}, nil
}

func (p *pair) name(at int) string {
	return named([...]string{p.comparison.base, p.comparison.rival}[at]).title
}

// reached fails if a contender that should have answered by itself asked the upstream, or the other way round. A hundredth
// may differ: a cache asks anew now and then, and a latecomer of the warm-up counts here.
func (c comparison) reached(arrived, base, rival int) error {
	want := base
	if c.reaches {
		want += rival
	}
	if math.Abs(float64(arrived-want)) > 0.01*float64(base+rival)+closedWorkers {
		return fmt.Errorf("%d requests reached the upstream, expected about %d: the contenders did not do what they are compared for",
			arrived, want)
	}
	return nil
}

// reading is what the counters say at one time, of both proxies.
type reading struct {
	upstream      int
	cpu, resident [2]float64
}

func (b *bench) read(ctx context.Context, p *pair) (r reading, err error) {
	stats, err := b.origins.Stats(ctx)
	if err != nil {
		return r, err
	}
	r.upstream = stats[0].Requests
	for i, proxy := range p.proxies() {
		select {
		case <-proxy.Ended:
			return r, fmt.Errorf("%s ended: %s", p.name(i), proxy.Log)
		default:
		}
		if r.cpu[i], err = proxy.CPU(); err != nil {
			return r, err
		}
		if r.resident[i], err = proxy.Resident(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// startProxy starts a contender, waits for its first answer and prepares it.
func (b *bench) startProxy(ctx context.Context, c contender) (*lab.Proxy, error) {
	admin, err := lab.FreePort()
	if err != nil {
		return nil, err
	}
	return b.startProxyAt(ctx, c, "127.0.0.1:"+strconv.Itoa(admin))
}

// startProxyAt is startProxy with an address for the admin endpoint.
func (b *bench) startProxyAt(ctx context.Context, c contender, admin string) (*lab.Proxy, error) {
	at := places{origin: b.origins.Addresses[0], ingest: b.origins.Addresses[receiver], redis: b.redis, admin: admin}
	p, err := lab.StartProxy(ctx, lab.Setup{
		Name: c.name, Within: b.folder, Path: "/healthz",
		Command: func(folder string, port int) (lab.Command, error) { return c.command(b.programs, at, folder, port) },
	})
	if err != nil {
		return nil, err
	}
	if len(c.prepare) == 0 {
		return p, nil
	}
	args := append(slices.Clone(c.prepare), "--address", at.admin)
	cmd := exec.CommandContext(ctx, b.programs.gatehouse, args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+p.Folder, "XDG_DATA_HOME="+p.Folder)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Stop()
		return nil, fmt.Errorf("preparing %s: %w: %s", c.title, err, out)
	}
	return p, nil
}
