// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"math/bits"
)

// Latency depends on how many requests an upstream already has: a mean over all loads says neither what an idle one
// would take nor what one more would mean for a busy one. So each load level has its own mean. Levels are single
// requests up to 3, then two to an octave: 0, 1, 2, 3, 4-5, 6-7, 8-11, 12-15, ...
const levels = 24

const (
	levelCap   = 64   // most observations that a level's mean remembers: it bounds how long it holds on to the past
	meanCap    = 1000 // and the same for the mean over all levels
	prior      = 10   // observations that the pool's latency weighs against the own mean
	levelPrior = 16   // observations that the own mean weighs against a level's
	evidence   = 16   // observations of a level that make it the idle one
	hint       = .5   // observations below which a level counts as unknown
)

// level returns the load level of q requests under way.
func level(q int64) int {
	if q < 4 {
		return int(max(q, 0))
	}
	octave := bits.Len64(uint64(q)) - 1
	half := int(q>>(octave-1)) & 1
	return min(levels-1, 4+(octave-2)*2+half)
}

// levelLoad returns the least number of requests in level l.
func levelLoad(l int) float64 {
	if l < 4 {
		return float64(l)
	}
	octave := 2 + (l-4)/2
	return float64(int64(1)<<octave + int64((l-4)%2)<<(octave-1))
}

// mean is a mean of observations that fade.
type mean struct{ value, weight float64 }

func (m *mean) add(x, limit float64) {
	m.weight = min(m.weight, limit-1) + 1
	m.value += (x - m.value) / m.weight
}

// curve holds the observed latencies (nanoseconds) by load level, and over all.
type curve struct {
	at    int64
	all   mean
	level [levels]mean
	seen  int  // levels from here on were never observed
	first bool // there was but one observation so far
}

// fade lets time pass until now.
func (c *curve) fade(now int64, memory float64) {
	if now <= c.at {
		return
	}
	f := math.Exp(-float64(now-c.at) / memory)
	c.at = now
	c.all.weight *= f
	for i := range c.level[:c.seen] {
		c.level[i].weight *= f
	}
}

// add takes an observation. The first one often tells how long it takes to connect, so the second one replaces it if it is
// shorter.
func (c *curve) add(l int, latency float64) {
	if c.first && latency < c.all.value {
		c.all, c.level = mean{}, [levels]mean{}
	}
	c.first = c.seen == 0
	c.all.add(latency, meanCap)
	c.level[l].add(latency, levelCap)
	c.seen = max(c.seen, l+1)
}

// raise takes a lower bound: a request that was cancelled after latency would have taken longer.
func (c *curve) raise(l int, latency float64) {
	if latency > c.level[l].value && latency > c.all.value {
		c.add(l, latency)
	}
}

// lean is how much of the distance from the pool's latency to the own one is believed, on a logarithmic scale. The fewer
// observations there are and the older they get, the less: an upstream with an unlucky sample, or one that was slow
// once, would else get no requests to show better.
func (c *curve) lean() float64 { return c.all.weight / (c.all.weight + prior) }

// typical is the mean latency over all loads, leaning to the pool's.
func (c *curve) typical(pool float64) float64 {
	switch {
	case c.all.value <= 0 || c.all.weight == 0:
		return pool
	case pool <= 0:
		return c.all.value
	}
	return pool * math.Pow(c.all.value/pool, c.lean())
}

// expected fills in what each load level would take now where the mean latency is typical, up to the highest known level
// or at least the lowest, and returns how many levels these are. A busier upstream is not quicker, so where the means say
// so it is noise, and they are pooled (isotonic regression). The levels between known ones, and those above, continue from
// the one below by extrapolate.
func (c *curve) expected(typical float64, out *[levels]float64) (n int) {
	var known blocks
	c.pool(&known)
	if known.n == 0 {
		out[0] = typical
		return 1
	}
	l, last, lastLevel := 0, mean{}, 0
	for _, b := range known.list[:known.n] {
		for ; l <= b.to; l++ {
			out[l] = b.value
			if l < b.from && last.weight > 0 {
				out[l] = min(b.value, extrapolate(last.value, lastLevel, l))
			}
		}
		last, lastLevel = b.mean, b.to
	}
	for i := range out[:l] {
		out[i] *= typical / c.all.value
	}
	return l
}

// extrapolate is the latency at a level never seen, from that at a lower one: by a square root, between an upstream with
// workers to spare (flat) and one without (proportional).
func extrapolate(from float64, known, l int) float64 {
	return from * roots[l].root * roots[known].inverse
}

// roots are the square roots of what each level and one request more have under way, and their inverses: a choice needs
// them for most upstreams, and neither a root nor a division is quick.
var roots = func() (all [levels]struct{ root, inverse float64 }) {
	for l := range all {
		all[l].root = math.Sqrt(levelLoad(l) + 1)
		all[l].inverse = 1 / all[l].root
	}
	return all
}()

// block is a run of known levels with one value.
type block struct {
	mean
	from, to int
}

type blocks struct {
	list [levels]block
	n    int
}

// leaned is the mean of level l. One above the mean over all levels leans to that: two slow answers at one level would
// else keep requests from it until they are forgotten.
func (c *curve) leaned(l int) mean {
	m := c.level[l]
	if m.value > c.all.value {
		m.value = (m.value*m.weight + c.all.value*levelPrior) / (m.weight + levelPrior)
	}
	return m
}

// lowest is the latency at the lowest levels that have enough evidence together, and the highest of them; None if there
// is not enough in all.
func (c *curve) lowest() (latency float64, l int) {
	m := mean{}
	for l := range c.level[:c.seen] {
		w := c.level[l].weight
		if w < hint {
			continue
		}
		m.weight += w
		m.value += (c.level[l].value - m.value) * w / m.weight
		if m.weight >= evidence {
			return m.value, l
		}
	}
	return m.value, None
}

// pool fills in the known levels as blocks of rising value.
func (c *curve) pool(b *blocks) {
	for l := range c.level[:c.seen] {
		if c.level[l].weight < hint {
			continue
		}
		b.list[b.n] = block{c.leaned(l), l, l}
		b.n++
		for b.n > 1 && b.list[b.n-2].value >= b.list[b.n-1].value {
			x, y := &b.list[b.n-2], b.list[b.n-1]
			w := x.weight + y.weight
			x.value = (x.value*x.weight + y.value*y.weight) / w
			x.weight, x.to = w, y.to
			b.n--
		}
	}
}

// idle is the latency when nothing queues, of which low load levels tell. An upstream that is never idle any more must
// not take its queues for its nature: so what a lower level told is kept for a while.
type idle struct {
	value float64
	level int
	at    int64
}

const (
	idleMemory = 600e9 // ns for which a lower level's latency is believed without new evidence
	idleStep   = .02   // weight of one look at it: what the last looks happened to see must not stick
)

// learn takes the latency of the lowest level with evidence; a level of None means that there is no evidence, and then
// the value is only a stopgap.
func (i *idle) learn(value float64, level int, now int64) {
	switch {
	case level == None:
		if i.at == 0 {
			i.value = value
		}
	case i.at == 0 || now-i.at > idleMemory:
		*i = idle{value, level, now}
	case level <= i.level:
		*i = idle{i.value + (value-i.value)*idleStep, level, now}
	}
}
