// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package processors

import (
	"runtime"
	runtimemetrics "runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/processwide"
)

const (
	share       = 4 // the default least is all cores divided by it
	environment = "GOMAXPROCS"
	runnable    = "/sched/goroutines/runnable:goroutines"
)

var processes = processwide.NewPool[process]()

// settings are what one config asks for.
type settings struct {
	least int // 0: the default
	all   bool
}

// of returns the least number of cores of most.
func (s settings) of(most int) int {
	switch {
	case s.all:
		return most
	case s.least == 0:
		return max(1, most/share)
	}
	return min(s.least, most)
}

// process is this process's scheduler and who sets it.
type process struct {
	mu    sync.Mutex // guards what follows
	users processwide.Users[settings]
	stop  chan struct{} // ends what follows the load; nil if nothing does
	ended sync.WaitGroup

	// What follows the load has these to itself.
	most   int // cores of the process without us
	given  int // processors as we set or found them last
	sample [1]runtimemetrics.Sample

	changes atomic.Uint64 // since the start

	sits     atomic.Bool  // a processor is occupied now
	working  atomic.Int32 // cores in use
	blocking atomic.Int32 // calls that block a processor
}

// Adapt lets this process use as many cores as its work needs from now on, whatever configs it runs that do not say
// otherwise. The operator's GOMAXPROCS, if set, stays in force. It is for a program's main function.
func Adapt() error {
	return processes.Adapt(environment, func(p *process) { p.use(p, settings{}) })
}

// use makes s the process's settings until owner drops them or another comes.
func (p *process) use(owner any, s settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users.Add(owner, s)
	p.apply()
}

// drop ends what owner uses. Dropping what was never used does nothing.
func (p *process) drop(owner any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, counted := p.users.Remove(owner); counted {
		p.apply()
	}
}

// apply begins anew as the last user wants, with all cores: a config that starts has much to do.
func (p *process) apply() {
	if p.stop != nil {
		close(p.stop)
		p.ended.Wait()
		p.stop = nil
		if runtime.GOMAXPROCS(0) == p.given { // else somebody else has set it since the last look
			runtime.GOMAXPROCS(p.most)
		}
	}
	wanted, ok := p.users.Last()
	if !ok {
		return
	}
	if _, known := used(); !known {
		return
	}
	p.stop, p.most = make(chan struct{}), runtime.GOMAXPROCS(0)
	p.given = p.most
	p.working.Store(int32(p.most))
	stop := p.stop
	p.ended.Go(func() { p.follow(wanted, stop) })
}

// follow uses as many cores as the load needs, until stop is closed. Whoever else sets their number (Caddy does at its start,
// by a container's limit) says with it how many there are.
func (p *process) follow(s settings, stop <-chan struct{}) {
	var g governor
	spare := 0 // processors that are occupied while there are fewer than all
	if seats() {
		spare = 1
	}
	p.sample[0].Name = runnable
	before, _ := used()
	for at, l := time.Now(), (look{}); p.pause(g.pause(l), spare > 0 && g.now < g.most, stop); {
		if n := runtime.GOMAXPROCS(0); n != g.processors(spare) {
			g, p.most = governor{least: s.of(n), most: n, now: n}, n
			p.given = n
			p.working.Store(int32(n))
		}
		l = look{passed: time.Since(at), runnable: p.waiting()}
		after, _ := used()
		l.cores = (after - before).Seconds() / l.passed.Seconds()
		before, at = after, at.Add(l.passed)
		if old := g.now; g.next(l) != old {
			p.given = g.processors(spare)
			runtime.GOMAXPROCS(p.given)
			p.changes.Add(1)
			p.working.Store(int32(g.now))
		}
	}
}

// pause waits until the next look, and reports false if stop is closed before. While it sits it occupies a processor, until
// somebody needs it: the garbage collector, who waits in a queue, or who is about to block one.
func (p *process) pause(d time.Duration, sit bool, stop <-chan struct{}) bool {
	if !sit || d > interval {
		return sleep(d, stop)
	}
	for left := d; left > 0; left -= sitting {
		p.sits.Store(true)
		needed := p.blocking.Load() > 0 || !occupy(sitting) || p.waiting() > queue
		p.sits.Store(false)
		if needed {
			return sleep(interval, stop)
		}
	}
	return sleep(0, stop)
}

// sleep reports false if stop is closed before d has passed.
func sleep(d time.Duration, stop <-chan struct{}) bool {
	if d == 0 {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-stop:
		return false
	case <-timer.C:
		return true
	}
}

// Blocking calls what blocks a processor for long without Go's knowing it, such as a sync to a disk, with the processors
// in reserve at hand for everybody else. It returns the call's error; it may be a few milliseconds late.
func Blocking(call func() error) error {
	p, l, err := processes.Take()
	if err != nil {
		return call()
	}
	defer func() { _ = l.Release() }() // its destructor has no error
	p.blocking.Add(1)
	defer p.blocking.Add(-1)
	for begun := time.Now(); p.sits.Load() && time.Since(begun) < 2*sitting; {
		time.Sleep(sitting / 4)
	}
	return call()
}

// waiting returns how many goroutines could run and have no core.
func (p *process) waiting() float64 {
	runtimemetrics.Read(p.sample[:])
	if p.sample[0].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return float64(p.sample[0].Value.Uint64())
}

// inUse returns the number of cores in force, 0 if nothing of ours sets it.
func (p *process) inUse() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop == nil {
		return 0
	}
	return float64(p.working.Load())
}

func (p *process) changed() float64 { return float64(p.changes.Load()) }
