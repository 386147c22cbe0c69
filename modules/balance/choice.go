// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"math"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

const (
	// safeLoad is how many requests in flight an upstream may always hold under the default bound.
	safeLoad = 16
	// maxReplicas bounds over how many upstreams one hot key is spread.
	maxReplicas = 64
	// noRank is above every rank.
	noRank = math.MaxUint64
)

// ranking is a pool made ready for consistent hashing: upstreams in the order of their names, so that the order in the
// config does not matter. It is immutable.
type ranking struct {
	table   *table
	members []member // at the table's positions
	weight  float64  // the sum of the weights
	// everybody is the same ranking, in which nobody is down; nil if nobody is in this one.
	everybody *ranking
}

type member struct {
	upstream *upstream
	weight   float64
	index    int // in the pool
	down     bool
}

func newRanking(upstreams []*upstream, weights map[string]float64) *ranking {
	r := &ranking{members: make([]member, len(upstreams))}
	for i, u := range upstreams {
		r.members[i] = member{upstream: u, weight: u.weightOr(weightOf(weights, u.address)), index: i}
		r.weight += r.members[i].weight
	}
	slices.SortStableFunc(r.members, func(a, b member) int { return strings.Compare(a.upstream.address, b.upstream.address) })
	addresses, shares := make([]string, len(upstreams)), make([]float64, len(upstreams))
	for i, m := range r.members {
		addresses[i], shares[i] = m.upstream.address, m.weight
	}
	r.table = newTable(addresses, shares)
	return r
}

// without returns the ranking in which some upstreams of the pool are down.
func (k *ranking) without(down []bool) *ranking {
	if down == nil {
		return k
	}
	part := &ranking{table: k.table, members: slices.Clone(k.members), weight: k.weight, everybody: k}
	for i := range part.members {
		part.members[i].down = down[part.members[i].index]
	}
	return part
}

// open reports whether the member may get requests.
func (m *member) open(pool reverseproxy.UpstreamPool) bool {
	return !m.down && !m.upstream.drained.Load() && pool[m.index].Available()
}

// rule is how consistent_hash chooses among a key's choices.
type rule struct {
	factor float64  // times the fair part of the requests in flight that an upstream may hold; 0 means unbounded
	least  int64    // an upstream with fewer requests in flight is never passed over
	hot    *hotKeys // nil if hot keys are not spread
	above  int64    // a hot key stays at its first choice while that holds fewer requests
}

// choose returns the upstream for a key, nil if none is open.
func (r *rule) choose(k *ranking, pool reverseproxy.UpstreamPool, key uint64, failed *failures) *reverseproxy.Upstream {
	replicas := 1
	if r.hot != nil {
		replicas = min(r.hot.replicas(key, len(k.members)), maxReplicas)
	}
	m := r.member(k, pool, key, failed, replicas)
	if m == nil {
		return nil
	}
	if r.hot != nil {
		r.hot.count(key, len(k.members), m.upstream.used.Load())
	}
	return pool[m.index]
}

// member returns the member for a key, nil if none is open. Nearly always that is the key's first choice, which is tried
// before anything else is looked at.
func (r *rule) member(k *ranking, pool reverseproxy.UpstreamPool, key uint64, failed *failures, replicas int) *member {
	first := &k.members[k.table.first(key)]
	if failed == nil && first.open(pool) {
		load := first.upstream.load()
		if (replicas == 1 || load < r.above) && !r.overloaded(k, pool, first, load) {
			return first
		}
	}
	return r.memberOfAll(k, pool, key, failed, replicas)
}

// overloaded reports whether a member with this load is to be passed over. It adds up the pool's load only until it is
// clear that it is not, which is at once on an idle upstream.
func (r *rule) overloaded(k *ranking, pool reverseproxy.UpstreamPool, m *member, load int64) bool {
	if load == 0 || load < r.least || r.factor == 0 {
		return false
	}
	enough := float64(load) * k.weight / (r.factor * m.weight)
	total := int64(1)
	for i := range k.members {
		if total += k.members[i].upstream.load(); float64(total) > enough {
			return false
		}
	}
	return float64(load) >= r.limit(k, pool)*m.weight
}

// limit returns how many requests in flight an upstream may hold for each unit of its weight before the next request is
// no longer for it. What unavailable upstreams hold counts, their weight does not: the others carry it.
func (r *rule) limit(k *ranking, pool reverseproxy.UpstreamPool) float64 {
	if r.factor == 0 {
		return math.Inf(1)
	}
	total, weight := int64(1), 0.0
	for i := range k.members {
		m := &k.members[i]
		total += m.upstream.load()
		if m.open(pool) {
			weight += m.weight
		}
	}
	return r.factor * float64(total) / weight
}

// memberOfAll looks at every upstream: of those that are open and neither failed this request nor are overloaded, it
// takes the key's best ones, as many as the key has replicas, and of them the least loaded. An overloaded one is better
// than one that failed, and that one better than none.
func (r *rule) memberOfAll(k *ranking, pool reverseproxy.UpstreamPool, key uint64, failed *failures, replicas int) *member {
	limit := r.limit(k, pool)
	best := shortlist{size: replicas}
	busy, again := uint64(noRank), uint64(noRank)
	for i := range k.members {
		m := &k.members[i]
		if !m.open(pool) {
			continue
		}
		load, rank := m.upstream.load(), k.table.rank(key, i)
		switch {
		case failed.has(m.upstream):
			again = min(again, rank)
		case load > 0 && load >= r.least && float64(load) >= limit*m.weight:
			busy = min(busy, rank)
		default:
			best.add(rank)
		}
	}
	rank := busy
	if best.n > 0 {
		rank = best.leastLoaded(k)
	}
	if rank == noRank {
		rank = again
	}
	if rank == noRank {
		return nil
	}
	return &k.members[rank&k.table.position]
}

// shortlist keeps the best ranks of those added to it, in order.
type shortlist struct {
	ranks   [maxReplicas]uint64
	n, size int
}

func (s *shortlist) add(rank uint64) {
	if s.n == s.size {
		if rank >= s.ranks[s.n-1] {
			return
		}
		s.n--
	}
	i := s.n
	for ; i > 0 && s.ranks[i-1] > rank; i-- {
		s.ranks[i] = s.ranks[i-1]
	}
	s.ranks[i] = rank
	s.n++
}

// leastLoaded returns the rank of the upstream with the least requests in flight by weight, the better rank if equal.
func (s *shortlist) leastLoaded(k *ranking) uint64 {
	best, least := s.ranks[0], math.Inf(1)
	for _, rank := range s.ranks[:s.n] {
		m := &k.members[rank&k.table.position]
		if load := float64(m.upstream.load()+1) / m.weight; load < least {
			best, least = rank, load
		}
	}
	return best
}
