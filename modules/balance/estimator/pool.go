// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// A pool's figures are renewed at most this often (nanoseconds), plus some for every upstream, so that it costs little
// however many there are.
const (
	poolFreshFor    = 100e6
	poolPerUpstream = 50e3
	poolYoungFor    = 5e6 // while there is hardly any evidence
)

// poolFigures is what an upstream is measured against.
type poolFigures struct {
	typical float64 // median of the upstreams' mean latencies, ns
	idle    float64 // median of their idle latencies, ns
	best    float64 // least failure ratio
}

// pool is what a chooser knows of its upstreams together.
type pool struct {
	next        atomic.Int64 // when the figures are due; written under mu
	established atomic.Bool  // it was looked at before: who is unknown now is new
	ramps       atomic.Bool  // ramps are respected: most upstreams do not ramp, and these can bear the load
	panicking   atomic.Bool  // too few upstreams are usable: ejections are ignored
	overloaded  atomic.Int64 // when the pool was last seen to be so

	mu   sync.Mutex // guards the rest; held while the figures are renewed
	last poolFigures
}

// overload is how many times its idle latency an upstream's expected latency is when it cannot keep up. A pool most of
// which cannot is better off with upstreams that fail some requests than without them.
const overload = 4

// calm is how long (nanoseconds) after an overload upstreams are not ejected for their failure ratio.
const calm = 30e9

// refresh renews the figures if they are due. One goroutine does it, the others go on with what there is.
func (c *Chooser) refresh(now int64, candidates []Candidate, size int) {
	p := &c.pool
	if now < p.next.Load() || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if now < p.next.Load() {
		return
	}
	figures, evidence := p.figures(now, candidates)
	fresh := int64(poolFreshFor)
	if evidence < prior {
		fresh = poolYoungFor
	}
	p.next.Store(now + fresh + int64(len(candidates))*poolPerUpstream)
	established := p.established.Load() || anyKnown(candidates)
	ramps := 0
	for i := range candidates {
		if candidates[i].Upstream.renew(now, figures, established) {
			ramps++
		}
	}
	p.relieve(now, candidates)
	p.ramps.Store(ramps*2 <= len(candidates) && p.overloaded.Load() != now)
	c.takeStock(candidates, size)
	p.established.Store(true)
}

// anyKnown reports whether another chooser knows some of the candidates: a new chooser's pool, after a reload for
// instance, is not new for that.
func anyKnown(candidates []Candidate) bool {
	for i := range candidates {
		if candidates[i].Upstream.flag.Load()&known != 0 {
			return true
		}
	}
	return false
}

// figures measures up to FullScan of the candidates, and returns how many observations tell of their latency.
func (p *pool) figures(now int64, candidates []Candidate) (_ poolFigures, evidence float64) {
	var typicals, idles [FullScan]mean
	step := (len(candidates) + FullScan - 1) / FullScan
	n := 0
	p.last.best = 1
	for i := 0; i < len(candidates); i += step {
		typical, idle, ratio := candidates[i].Upstream.peek(now)
		p.last.best = min(p.last.best, ratio)
		if typical.value > 0 {
			typicals[n], idles[n] = typical, mean{idle, typical.weight}
			evidence += typical.weight
			n++
		}
	}
	if n > 0 {
		p.last.typical, p.last.idle = median(typicals[:n]), median(idles[:n])
	}
	return p.last, evidence
}

// median returns the value that has half of the weight at or below it.
func median(x []mean) float64 {
	slices.SortFunc(x, func(a, b mean) int { return cmp.Compare(a.value, b.value) })
	half := 0.
	for _, m := range x {
		half += m.weight / 2
	}
	for _, m := range x {
		if half -= m.weight; half < 0 {
			return m.value
		}
	}
	return x[len(x)-1].value
}

// peek returns the mean latency with its weight, 0 if it is not known any more, the idle latency and the failure ratio.
//
// The weight is that of the evidence, up to what counts as enough: the first answers of all upstreams tell how long it takes
// to connect, and would else make everybody who answered no more than that look as slow.
func (u *Upstream) peek(now int64) (typical mean, idle, ratio float64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.curve.fade(now, float64(u.params.Memory))
	u.failures.fade(now)
	if u.curve.all.weight >= hint {
		typical = mean{u.curve.all.value, min(u.curve.all.weight, prior)}
	}
	return typical, u.idle.value, u.failures.ratio()
}

// renew measures the upstream against the pool, and reports whether it ramps. One that was never seen begins a ramp if
// the pool was there before it; in a new pool all are new, and nobody can spare anybody.
func (u *Upstream) renew(now int64, figures poolFigures, established bool) (ramps bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.flag.Load()&known == 0 {
		if established {
			u.startRamp(now)
		}
		u.setFlag(known)
	}
	u.pool = figures
	u.publish(now)
	return u.RampFraction(now) < 1
}

// relieve takes back the upstreams that were ejected for their failure ratio, if most of the others are overloaded.
func (p *pool) relieve(now int64, candidates []Candidate) {
	in, full := 0, 0
	for i := range candidates {
		u := candidates[i].Upstream
		if u.flag.Load()&ejected != 0 {
			continue
		}
		in++
		if u.queueing() > overload-1 {
			full++
		}
	}
	if full*2 <= in {
		return
	}
	p.overloaded.Store(now)
	for i := range candidates {
		candidates[i].Upstream.pardon()
	}
}

// queueing is what waiting adds to the latency at the present load, in idle latencies.
func (u *Upstream) queueing() float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.idle.value == 0 {
		return 0
	}
	return u.published.at(level(u.load()))/u.idle.value - 1
}

// takeStock finds out whether too few upstreams are usable, and returns how many are ejected.
func (c *Chooser) takeStock(candidates []Candidate, size int) (out int) {
	for i := range candidates {
		if candidates[i].Upstream.flag.Load()&ejected != 0 {
			out++
		}
	}
	usable := float64(len(candidates) - out)
	c.pool.panicking.Store(out > 0 && usable < c.params.Panic*float64(size))
	return out
}

// consider ejects a suspicious upstream if the pool can do without it.
func (c *Chooser) consider(now int64, u *Upstream, candidates []Candidate, size int) bool {
	out := c.takeStock(candidates, size)
	last := c.pool.overloaded.Load()
	inRowOnly := last > 0 && now-last < calm
	if float64(out+1) > c.params.MaxEjected*float64(len(candidates)) || !u.eject(now, inRowOnly) {
		return false
	}
	c.takeStock(candidates, size)
	return true
}
