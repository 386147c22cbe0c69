// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// choosing is one choice of the guard in the making.
type choosing struct {
	pool     reverseproxy.UpstreamPool
	states   []*upstream // in the pool's order
	lineup   lineup
	key      uint64 // what the policy binds the request by; 0 for nothing
	admit    []bool // which candidates the policy may choose from
	admitted int    // how many

	// Where all candidates are admitted, and they are the whole pool, the policy gets the pool itself; otherwise this.
	part    reverseproxy.UpstreamPool
	offered []float64 // what the policy gives each candidate, relative to the others
	wanted  []float64 // what it should get
}

var choices = sync.Pool{New: func() any { return new(choosing) }}

func (c *choosing) begin(states []*upstream, l lineup) {
	c.pool, c.states, c.lineup = l.pool, states, l
	c.admit = slices.Grow(c.admit[:0], len(l.candidates))[:len(l.candidates)]
	c.admitted = 0
}

// release gives the choice back. It must not be used afterwards, nor what visible returned.
func (c *choosing) release() {
	clear(c.part[:cap(c.part)]) // keeps no upstream alive
	c.lineup.release()
	c.pool, c.states, c.lineup, c.key = nil, nil, lineup{}, 0
	choices.Put(c)
}

// at returns a candidate's upstream as Caddy has it.
func (c *choosing) at(candidate int) *reverseproxy.Upstream { return c.pool[c.lineup.in(candidate)] }

// set admits a candidate or not.
func (c *choosing) set(candidate int, admitted bool) {
	if c.admit[candidate] == admitted {
		return
	}
	c.admit[candidate] = admitted
	if admitted {
		c.admitted++
	} else {
		c.admitted--
	}
}

// only admits one candidate. It stands after share.
func (c *choosing) only(candidate int) {
	clear(c.admit)
	clear(c.offered)
	c.admit[candidate], c.offered[candidate], c.admitted = true, 1, 1
}

// takeTurns leaves out the upstreams that have no turn, which get no requests whatever happens to others. If that leaves
// nobody, it admits all that have; false means that there are none.
func (c *choosing) takeTurns(turns []float64) bool {
	some := false
	for i := range c.admit {
		if turnOf(turns, c.lineup.in(i)) == 0 {
			c.set(i, false)
		} else {
			some = true
		}
	}
	if c.admitted > 0 || !some {
		return some
	}
	for i := range c.admit {
		c.set(i, turnOf(turns, c.lineup.in(i)) > 0)
	}
	return true
}

// turnOf returns the weight of a position; who has none gets no requests.
func turnOf(turns []float64, position int) float64 {
	if position >= len(turns) {
		return 0
	}
	return turns[position]
}

// visible returns the pool that the policy may choose from. With turns it is as long as the whole, and the places of those
// who are left out are taken by others, so that everybody else stands where the weights expect it.
func (c *choosing) visible(turns []float64) reverseproxy.UpstreamPool {
	if c.admitted == len(c.pool) {
		return c.pool
	}
	c.part = c.part[:0]
	if turns == nil {
		for i, admitted := range c.admit {
			if admitted {
				c.part = append(c.part, c.at(i))
			}
		}
		return c.part
	}
	for range c.pool {
		c.part = append(c.part, nil)
	}
	for i, admitted := range c.admit {
		if admitted {
			c.part[c.lineup.in(i)] = c.at(i)
		}
	}
	for position, u := range c.part {
		if u == nil {
			c.part[position] = c.at(draw(c.offered, rand.Float64()))
		}
	}
	return c.part
}

// even reports whether all candidates weigh the same.
func (c *choosing) even() bool {
	for i := range c.lineup.candidates {
		if c.lineup.candidates[i].Weight != c.lineup.candidates[0].Weight {
			return false
		}
	}
	return true
}

// share fills in what the policy offers and what is wanted, and reports whether they differ.
func (c *choosing) share(turns []float64) (differ bool) {
	c.offered, c.wanted = c.offered[:0], c.wanted[:0]
	var total [2]float64
	for i, admitted := range c.admit {
		offered, wanted := 0.0, 0.0
		if admitted {
			offered, wanted = 1, c.lineup.candidates[i].Weight
			if position := c.lineup.in(i); turns != nil {
				offered = turnOf(turns, position)
				wanted = c.states[position].weightOr(offered)
			}
		}
		c.offered, c.wanted = append(c.offered, offered), append(c.wanted, wanted)
		total[0], total[1] = total[0]+offered, total[1]+wanted
	}
	for i := range c.offered {
		c.offered[i] /= total[0]
		c.wanted[i] /= total[1]
		differ = differ || math.Abs(c.offered[i]-c.wanted[i]) > 1e-9
	}
	return differ
}

// reweigh returns the upstream that gets a request which the policy gave to u: the same, or one that gets less than it
// should.
func (c *choosing) reweigh(u *reverseproxy.Upstream) *reverseproxy.Upstream {
	for i := range c.admit {
		if c.at(i) == u && c.admit[i] {
			keep, spread := c.draws()
			return c.at(reweigh(i, c.offered, c.wanted, keep, spread))
		}
	}
	return u
}

// draws returns two numbers in [0, 1), the same for the same key.
func (c *choosing) draws() (keep, spread float64) {
	if c.key == 0 {
		return rand.Float64(), rand.Float64()
	}
	first := scramble(c.key)
	return unit(first), unit(scramble(first))
}

// reweigh returns who gets what was offered to one: it keeps so much of it that it gets no more than is wanted, and the
// rest goes to those who are offered too little, in proportion to what they lack. offered and wanted each add up to 1.
func reweigh(to int, offered, wanted []float64, keep, spread float64) int {
	if keep*offered[to] < wanted[to] {
		return to
	}
	var lack float64
	for i := range wanted {
		lack += max(0, wanted[i]-offered[i])
	}
	spread *= lack
	for i := range wanted {
		if spread -= max(0, wanted[i]-offered[i]); spread < 0 {
			return i
		}
	}
	return to // rounding
}

// draw returns an index with a probability in proportion to its share, for a number in [0, 1). The shares add up to 1.
func draw(shares []float64, number float64) int {
	last := 0
	for i, share := range shares {
		if share == 0 {
			continue
		}
		last = i
		if number -= share; number < 0 {
			break
		}
	}
	return last
}

// leastLoaded returns, after share, the admitted upstream with the least requests in flight by weight; between equals, chance decides by
// weight too. The least of exponential draws divided by weights is each one's with a probability in proportion to its own.
func (c *choosing) leastLoaded() *reverseproxy.Upstream {
	var best *reverseproxy.Upstream
	least := math.Inf(1)
	for i, admitted := range c.admit {
		if !admitted || c.at(i).Full() {
			continue
		}
		load := float64(c.states[c.lineup.in(i)].load())
		if score := (load + rand.ExpFloat64()) / c.wanted[i]; score < least {
			best, least = c.at(i), score
		}
	}
	return best
}
