// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/gatehouse-proxy/gatehouse/modules/processwide"
)

const (
	// The default headroom is the machine's memory divided by share, within bounds: most of what can be bought off is
	// bought by the first few dozen megabytes.
	share             = 64
	smallest, largest = 32 << 20, 128 << 20

	goDefault   = 100
	negligible  = 10 // percent by which GOGC may be off: setting it stops the process for a moment
	unchanged   = -1 // as a memory limit: only ask
	environment = "GOGC"
	liveHeap    = "/gc/heap/live:bytes"
)

var processes = processwide.NewPool[process]()

// settings are what one config asks for.
type settings struct {
	headroom int64 // bytes above the live heap; counts if percent is 0
	percent  int
	limit    int64 // bytes; 0 leaves it
}

// wanted returns the GOGC that gives a live heap these settings' headroom. It is never below Go's default, so that a large
// heap is collected no more often than in any other Go program.
func (s settings) wanted(live int64) int {
	if s.percent != 0 {
		return s.percent
	}
	live = max(live, 1<<20)
	return int(min(max(s.headroom*100/live, goDefault), mostPercent))
}

// process is the collector of this process and who sets it.
type process struct {
	mu      sync.Mutex // guards what follows
	users   processwide.Users[settings]
	before  settings // of the process without us
	percent int      // as set
	tuning  bool     // a sentinel is waiting for the next collection
}

// Adapt gives this process the default headroom from now on, whatever configs it runs that do not say otherwise. The
// operator's GOGC, if set, stays in force. It is for a program's main function.
func Adapt() error {
	return processes.Adapt(environment, func(p *process) { p.use(p, settings{headroom: defaultHeadroom()}) })
}

// use makes s the process's settings until owner drops them or another comes.
func (p *process) use(owner any, s settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.users.Last(); !ok {
		p.before = settings{percent: debug.SetGCPercent(goDefault), limit: debug.SetMemoryLimit(unchanged)}
		p.percent = goDefault
	}
	p.users.Add(owner, s)
	p.apply()
}

// drop ends what owner uses. Dropping what was never used does nothing.
func (p *process) drop(owner any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found, _ := p.users.Remove(owner); found { // also if another one's other settings count: its limit may count now
		p.apply()
	}
}

// apply sets the collector as the last user wants. The memory limit is the last one that any user asks for.
func (p *process) apply() {
	last, ok := p.users.Last()
	if !ok {
		debug.SetGCPercent(p.before.percent)
		debug.SetMemoryLimit(p.before.limit)
		return
	}
	limit := p.before.limit
	for _, s := range p.users.Settings() {
		if s.limit != 0 {
			limit = s.limit
		}
	}
	debug.SetMemoryLimit(limit)
	p.set(last.wanted(live()))
	if !p.tuning {
		p.tuning = true
		p.wait()
	}
}

func (p *process) set(percent int) {
	if difference := percent - p.percent; difference*100 > p.percent*negligible || -difference*100 > p.percent*negligible {
		debug.SetGCPercent(percent)
		p.percent = percent
	}
}

// sentinel is garbage at once, so that its cleanup runs after the next collection. It holds a pointer, as objects without
// one share their memory and may live longer.
type sentinel struct{ self *sentinel }

// wait lets tune run after the next collection.
func (p *process) wait() {
	s := new(sentinel)
	s.self = nil
	runtime.AddCleanup(s, func(p *process) { p.tune() }, p)
}

// tune sets the collector anew after each collection, by what is live now.
func (p *process) tune() {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.users.Last()
	if !ok {
		p.tuning = false
		return
	}
	p.set(last.wanted(live()))
	p.wait()
}

// current returns the GOGC in force, 0 if nothing of ours sets it.
func (p *process) current() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.users.Last(); !ok {
		return 0
	}
	return float64(p.percent)
}

// live returns the bytes that the last collection found in use.
func live() int64 {
	sample := []runtimemetrics.Sample{{Name: liveHeap}}
	runtimemetrics.Read(sample)
	if sample[0].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64())
}

// defaultHeadroom is a part of the container's limit, or of the machine's memory. Where neither can be read it is the
// smallest.
func defaultHeadroom() int64 {
	memory, err := memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)()
	if err != nil {
		return smallest
	}
	return headroomOf(memory)
}

func headroomOf(memory uint64) int64 {
	return int64(min(max(memory/share, smallest), largest))
}
