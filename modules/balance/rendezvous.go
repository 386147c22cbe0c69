// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// table ranks upstreams for a key by weighted rendezvous hashing: every upstream draws a number from the key's hash and
// its own seed, and the smallest draw wins. An upstream's draw depends on nothing but its name and the key, so adding,
// removing or weighing one moves only the keys that it wins or loses, and every proxy with the same names and weights
// ranks alike.
//
// With weights, the draw x in [0, 1) becomes -ln(1-x)/weight. Those are exponential waiting times with the weight as
// rate, of which each is the shortest with a probability in proportion to its rate.
//
// A table is immutable.
type table struct {
	nodes    []node
	weighted bool   // false if all weights are equal, which needs no logarithm
	position uint64 // mask of the low bits of a rank that hold the node's position
}

// node is what a table keeps of one upstream.
type node struct {
	seed, multiplier uint64
	inverse          float64 // 1/weight
	bound            float64 // a little below inverse: a draw times bound is never above its score
}

// newTable builds a table of upstreams with these names and weights (above zero). Equal draws go to the earlier name, so
// callers pass names in an order that is the same on every proxy.
func newTable(names []string, weights []float64) *table {
	t := &table{nodes: make([]node, len(names)), position: 1<<max(11, bits.Len(uint(len(names)))) - 1}
	for i, name := range names {
		seed := xxhash.Sum64String(name)
		inverse := 1 / weights[i]
		t.nodes[i] = node{
			seed:       seed,
			multiplier: scramble(seed) | 1, // odd, so that no bit of the key is lost
			inverse:    inverse,
			bound:      inverse * (1 - 0x1p-30),
		}
		t.weighted = t.weighted || weights[i] != weights[0]
	}
	return t
}

// scramble is the finalizer of splitmix64: it makes a second seed from the first that shares no pattern with it.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw returns the node's draw for a key. The folded 128-bit product depends on every bit of the key and both seeds.
func (n *node) draw(key uint64) uint64 {
	high, low := bits.Mul64(key^n.seed, n.multiplier)
	return high ^ low
}

// unit maps a draw to [0, 1), as a multiple of 2^-53.
func unit(draw uint64) float64 { return float64(draw>>11) * 0x1p-53 }

// rank says how well the node at a position suits a key: less is better, and no two nodes have the same rank, as the low
// bits hold the position. Ranks compare within one table only.
func (t *table) rank(key uint64, position int) uint64 {
	n := &t.nodes[position]
	rank := n.draw(key)
	if t.weighted {
		rank = math.Float64bits(waiting(unit(rank)) * n.inverse) // positive floats sort like their bits
	}
	return rank&^t.position | uint64(position)
}

// first returns the position of the key's first choice, which has the lowest rank. The table must not be empty.
func (t *table) first(key uint64) int {
	if t.weighted {
		return t.firstWeighted(key)
	}
	best := uint64(math.MaxUint64)
	for i := range t.nodes { // rank, but spelled out: a mispredicted branch costs more than a node
		best = min(best, t.nodes[i].draw(key)&^t.position|uint64(i))
	}
	return int(best & t.position)
}

// eager is how many logarithms firstWeighted takes without asking whether they can win. They run side by side, where a
// branch on a random number is mispredicted; after this many, hardly any other node can win.
const eager = 8

func (t *table) firstWeighted(key uint64) int {
	best := uint64(math.MaxUint64)
	for i := range min(eager, len(t.nodes)) {
		n := &t.nodes[i]
		best = min(best, math.Float64bits(waiting(unit(n.draw(key)))*n.inverse)&^t.position|uint64(i))
	}
	limit := math.Float64frombits(best)
	for i := eager; i < len(t.nodes); i++ {
		n := &t.nodes[i]
		x := unit(n.draw(key))
		if (x+x*x/2)*n.bound > limit { // -ln(1-x) >= x + x*x/2
			continue
		}
		best = min(best, t.rank(key, i))
		limit = math.Float64frombits(best)
	}
	return int(best & t.position)
}

// waiting returns -ln(1-x) for a multiple x of 2^-53 in [0, 1), with a relative error below 1e-12.
//
// It stands in for math.Log1p because proxies of different architectures must agree on every key: Go's logarithms are
// assembly on some, and products may be fused with sums on others. Here every product that is added is rounded by an
// explicit conversion, which forbids fusing, and the rest is exact by IEEE 754.
func waiting(x float64) float64 {
	const sqrtHalf = 0x3fe6a09e667f3bcd // its bits
	rest := math.Float64bits(1 - x)     // exact, as x is a multiple of 2^-53
	shifted := rest - sqrtHalf
	doublings := float64(int64(shifted) >> 52)
	z := math.Float64frombits(rest - shifted&(0xfff<<52)) // 1-x without its power of two: in [sqrt(1/2), sqrt(2))
	// -ln(z) = 2 artanh(s), a series that is summed in pairs for the processor to work on side by side.
	s := (1 - z) / (1 + z)
	q := float64(s * s)
	q2 := float64(q * q)
	a := 2 + float64(q*(2./3))
	b := 2./5 + float64(q*(2./7))
	c := 2./9 + float64(q*(2./11))
	d := 2./13 + float64(q*(2./15))
	series := a + float64(q2*b) + float64(float64(q2*q2)*(c+float64(q2*d)))
	return float64(s*series) - float64(doublings*math.Ln2)
}
