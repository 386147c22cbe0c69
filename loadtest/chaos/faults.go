// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gatehouse-proxy/gatehouse/cmd/origin/origin"
	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// fault is something that breaks, or that an operator does.
type fault struct {
	name string
	do   func(*load, context.Context) error
}

func faults() []fault {
	return []fault{
		{"the kill of a proxy", (*load).killProxy},
		{"the kill of an upstream", (*load).killUpstream},
		{"slow upstreams", (*load).slowUpstreams},
		{"reloads", (*load).reloadAll},
		{"bans", (*load).ban},
		{"purges", (*load).purge},
		{"drains", (*load).drain},
		{"a full disk", (*load).fillDisk},
		{"the kill of Redis", (*load).killRedis},
		{"a stop of Redis", (*load).stopRedis},
	}
}

// settle is how long all is well between two faults.
const settle = 400 * time.Millisecond

// try is one run. What was found is nil if nothing could be started.
func (s settings) try(ctx context.Context, progress io.Writer) (*findings, error) {
	w, err := s.build(ctx, progress)
	if err != nil {
		return nil, err
	}
	defer w.tearDown()
	w.found.settings = s
	l := w.newLoad()
	if err := l.banForGood(ctx); err != nil {
		return nil, err
	}
	ending, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	held, err := w.openStreams(ctx, ending)
	if err != nil {
		return nil, err
	}
	w.found.opened = held.open.Load()
	lab.Say(progress, "%d streams are open", w.found.opened)
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { l.run(loading) })
	group.Go(func() { l.watch(loading) })
	begun := time.Now()
	err = l.breakThings(ctx)
	w.phase.Store("the end")
	stop()
	group.Wait()
	w.found.leftOpen = held.open.Load()
	end()
	held.running.Wait()
	w.found.took = time.Since(begun)
	if err != nil {
		return &w.found, err
	}
	l.askAgain(ctx)
	l.sum()
	return &w.found, errors.Join(l.countLines(ctx), ctx.Err())
}

// banForGood bans the client that is asked for all the time, through the first proxy.
func (l *load) banForGood(ctx context.Context) error {
	return l.proxies[mortal].order(ctx, http.MethodPost, "/gatehouse/bans", map[string]any{"prefixes": []string{banned}, "for": "1h"})
}

// breakThings carries all faults out, one after the other, in every cycle.
func (l *load) breakThings(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(l.seed, 0))
	for cycle := range l.cycles {
		all := faults()
		if cycle > 0 {
			chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		for _, f := range all {
			if !lab.SleepUntil(ctx, time.Now().Add(settle)) {
				return errors.New("interrupted")
			}
			lab.Say(l.progress, "cycle %d: %s", cycle+1, f.name)
			l.phase.Store(f.name)
			if err := f.do(l, ctx); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			l.phase.Store("the time after " + f.name)
			l.found.faults++
		}
	}
	lab.SleepUntil(ctx, time.Now().Add(settle))
	return nil
}

func (l *load) killProxy(ctx context.Context) error {
	p := l.proxies[mortal]
	for range 2 {
		p.kill()
		l.found.kills++
		lab.SleepUntil(ctx, time.Now().Add(200*time.Millisecond))
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	if l.control { // its list is in its memory
		return l.banForGood(ctx)
	}
	return nil
}

func (l *load) killUpstream(ctx context.Context) error {
	u := l.origins[mortal]
	u.kill()
	lab.SleepUntil(ctx, time.Now().Add(700*time.Millisecond))
	return u.start(context.WithoutCancel(ctx), l.app)
}

func (l *load) slowUpstreams(ctx context.Context) error {
	slow := l.origins[1].set(origin.Settings{Latency: "const:300ms"})
	frozen := l.origins[2].set(origin.Settings{Latency: "exp:5ms", Freeze: origin.Duration(600 * time.Millisecond)})
	lab.SleepUntil(ctx, time.Now().Add(800*time.Millisecond))
	return errors.Join(slow, frozen, l.origins[1].set(origin.Settings{Latency: "exp:5ms"}))
}

// reloadAll has every proxy take other configurations, and refuse broken ones: one that does not parse, and one that fails
// when it is started already, as an address is taken.
func (l *load) reloadAll(ctx context.Context) error {
	return l.everyProxy(func(p *proxy) error {
		good := p.caddyfile(p, p.version)
		_, port, _ := strings.Cut(l.receiver.address, ":")
		for _, broken := range []string{
			strings.Replace(good, "ready /ready", "ready /ready /twice {\n nonsense\n}", 1),
			good + "\nhttp://:" + port + " {\n bind 127.0.0.2\n respond no\n}\n",
		} {
			if err := p.reload(ctx); err != nil {
				return err
			}
			status, _, err := p.load(ctx, broken)
			if err != nil {
				return err
			}
			l.found.reloads.Add(2)
			if status == http.StatusOK {
				l.found.accepted.note("proxy %d took a broken configuration", p.number)
			}
			_, _, fields, err := l.request(l.client, p, http.MethodGet, "/status/200")
			if got := fields.Get("X-Version"); err == nil && got != fmt.Sprint(p.version) {
				l.found.accepted.note("proxy %d has version %q after a broken configuration, and had %d", p.number, got, p.version)
			}
		}
		return nil
	})
}

// drain takes an upstream out on every proxy, and a proxy out of rotation. The control has neither.
func (l *load) drain(ctx context.Context) error {
	if l.control {
		return nil
	}
	u := l.origins[upstreams-1]
	body := map[string]any{"upstream": u.address}
	if err := l.everyProxy(func(p *proxy) error {
		return errors.Join(p.order(ctx, http.MethodPost, "/gatehouse/upstreams/drain", body), p.order(ctx, http.MethodPost, "/gatehouse/drain", nil))
	}); err != nil {
		return err
	}
	lab.SleepUntil(ctx, time.Now().Add(100*time.Millisecond)) // what had chosen it is sent
	before := u.requests()
	lab.SleepUntil(ctx, time.Now().Add(600*time.Millisecond))
	if n := u.requests() - before; n > 0 {
		l.found.drained.note("%d requests reached an upstream that is drained", n)
	}
	for _, p := range l.proxies {
		if status, _, err := ask(ctx, http.MethodGet, "http://"+p.address+"/ready", "", ""); err == nil && status != http.StatusServiceUnavailable {
			l.found.drained.note("proxy %d says that it is ready, and is drained", p.number)
		}
	}
	return l.everyProxy(func(p *proxy) error {
		return errors.Join(p.order(ctx, http.MethodPost, "/gatehouse/upstreams/undrain", body), p.order(ctx, http.MethodDelete, "/gatehouse/drain", nil))
	})
}

// fillDisk fills the disk of the last proxy's spool while the receiver of logs is away, until the spool has to drop lines, and
// makes room again. Without a disk of its own only the receiver is away.
func (l *load) fillDisk(ctx context.Context) error {
	p := l.proxies[proxies-1]
	l.receiver.leave(true)
	defer l.receiver.leave(false)
	if !p.ownDisk || l.control {
		lab.SleepUntil(ctx, time.Now().Add(time.Second))
		return nil
	}
	filler := filepath.Join(seenFrom(p.running.ID(), p.folder), "disk", "filler")
	if err := fill(filler); err != nil {
		return err
	}
	before, _, err := p.dropped(ctx)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && err == nil; {
		for range 20 {
			l.getFrom(p)
		}
		var now uint64
		if now, _, err = p.dropped(ctx); now > before {
			l.found.filled++
			break
		}
	}
	return errors.Join(err, os.Remove(filler))
}

// getFrom is a GET of the usual kind through one proxy.
func (l *load) getFrom(p *proxy) {
	n := int(l.number.Add(1))
	l.found.gets.Add(1)
	status, _, _, err := l.request(l.client, p, http.MethodGet, fmt.Sprint(numbered, n))
	if err != nil || status != http.StatusOK {
		l.found.failedGETs.note("during %s: status %d of proxy %d, %v", l.phase.Load(), status, p.number, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole[p.number] = append(l.whole[p.number], n)
}

// fill writes a file until the disk has no room.
func fill(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("filling a disk: %w", err)
	}
	defer f.Close()
	const most = 64 << 20 // of a disk that is larger than it should be
	for block, written := make([]byte, 4096), 0; written < most; written += len(block) {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return fmt.Errorf("filling a disk: %w", err)
		}
	}
	return errors.New("filling a disk: it has no end")
}

// outage is how long Redis is away: as long again as its proxies take at most to notice that it is silent.
const outage = 2 * time.Second

// redisFault is one time without Redis.
func (l *load) redisFault(ctx context.Context, begin, end func() error) error {
	l.outages.Add(1)
	if err := begin(); err != nil {
		return err
	}
	lab.SleepUntil(ctx, time.Now().Add(outage))
	err := end()
	lab.SleepUntil(ctx, time.Now().Add(500*time.Millisecond)) // the proxies notice
	l.outages.Add(1)
	return err
}

func (l *load) killRedis(ctx context.Context) error {
	return l.redisFault(ctx, func() error {
		l.redis.Kill()
		<-l.redis.Ended
		return nil
	}, func() error { return l.startRedis(context.WithoutCancel(ctx)) })
}

func (l *load) stopRedis(ctx context.Context) error {
	return l.redisFault(ctx,
		func() error { return l.redis.Signal(syscall.SIGSTOP) },
		func() error { return l.redis.Signal(syscall.SIGCONT) })
}

// linesTimeout is how long the last lines may take.
const linesTimeout = 10 * time.Second

// countLines waits for the lines of all GETs that were answered whole. Only a disk that was full excuses a loss, and only as many
// lines as the spool says.
func (l *load) countLines(ctx context.Context) error {
	wait := linesTimeout
	if l.control {
		wait = time.Second // it sends nothing twice
	}
	for deadline := time.Now().Add(wait); ; {
		missing := 0
		for _, numbers := range l.whole {
			missing += len(l.receiver.missing(numbers))
		}
		if missing == 0 || time.Now().After(deadline) || !lab.SleepUntil(ctx, time.Now().Add(100*time.Millisecond)) {
			break
		}
		if !l.control && missing > 0 && l.allDropped(ctx, missing) {
			break
		}
	}
	for i, p := range l.proxies {
		missing := l.receiver.missing(l.whole[i])
		l.found.lines += len(l.whole[i])
		if !l.control {
			dropped, open, err := p.dropped(ctx)
			if err != nil {
				return err
			}
			if !open {
				l.found.lost.note("the spool of proxy %d takes no lines in the end", i)
			}
			if p.ownDisk {
				l.found.dropped = dropped
				missing = missing[min(len(missing), int(dropped)):]
			}
		}
		for _, n := range missing {
			l.found.lost.note("the line of GET %d through proxy %d", n, i)
		}
	}
	return nil
}

// allDropped reports whether as many lines are missing as the spool with the small disk has dropped, or fewer.
func (l *load) allDropped(ctx context.Context, missing int) bool {
	i := slices.IndexFunc(l.proxies, func(p *proxy) bool { return p.ownDisk })
	if i < 0 {
		return false
	}
	dropped, _, err := l.proxies[i].dropped(ctx)
	return err == nil && uint64(missing) <= dropped && len(l.receiver.missing(l.whole[i])) == missing
}
