// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// snapshot is a pool with its states, and what a policy derives from them. It is immutable.
type snapshot[T any] struct {
	generation uint64
	pool       reverseproxy.UpstreamPool // keeps the pointers alive, so that an equal pointer means the same upstream
	fixed      bool                      // pool is the handler's own slice, which never changes
	upstreams  []*upstream               // in the pool's order
	down       []bool                    // which of them active checks found down; nil if none
	drains     bool                      // some are drained; which ones, they say themselves
	panics     bool                      // some are, and get requests when no other can
	derived    T
}

// resolver turns the pool that Caddy passes to each Select into a snapshot. A static pool costs two comparisons; a
// dynamic one, whose upstreams are made anew for each attempt, a comparison of addresses.
type resolver[T any] struct {
	registry *registry
	static   reverseproxy.UpstreamPool // the handler's own, empty for a dynamic source
	health   *checker
	derive   func([]*upstream) T
	current  atomic.Pointer[snapshot[T]]
}

// resolve returns a snapshot whose upstreams stand at the same indexes as in pool.
func (r *resolver[T]) resolve(pool reverseproxy.UpstreamPool) *snapshot[T] {
	generation := r.registry.generation.Load()
	if s := r.current.Load(); s != nil && s.generation == generation && s.matches(pool) {
		return s
	}
	s := r.build(pool)
	s.generation = generation
	r.current.Store(s)
	return s
}

func (s *snapshot[T]) matches(pool reverseproxy.UpstreamPool) bool {
	if len(pool) != len(s.pool) {
		return false
	}
	if s.fixed && len(pool) > 0 && &pool[0] == &s.pool[0] {
		return true
	}
	for i, u := range pool {
		if u != s.pool[i] && u.Dial != s.pool[i].Dial {
			return false
		}
	}
	return true
}

func (r *resolver[T]) build(pool reverseproxy.UpstreamPool) *snapshot[T] {
	s := &snapshot[T]{
		pool:      pool,
		fixed:     len(pool) > 0 && len(pool) == len(r.static) && &pool[0] == &r.static[0],
		upstreams: make([]*upstream, len(pool)),
	}
	if !s.fixed {
		s.pool = slices.Clone(pool) // the source may reuse its slice
	}
	for i, u := range pool {
		s.upstreams[i] = r.registry.get(u.Dial)
		s.drains = s.drains || s.upstreams[i].drained.Load()
	}
	s.down = r.health.down(s.upstreams)
	s.panics = s.down != nil && !r.health.failClosed()
	s.derived = r.derive(s.upstreams)
	return s
}

// isDown reports whether active checks found an upstream of the pool down.
func (s *snapshot[T]) isDown(i int) bool { return s.down != nil && s.down[i] }

// inService is how many upstreams the operator has not drained.
func (s *snapshot[T]) inService() (n int) {
	for _, u := range s.upstreams {
		if !u.drained.Load() {
			n++
		}
	}
	return n
}

// open returns the upstreams of pool that a policy which knows nothing of drains, retries and checks may choose from: not
// drained; not found down by active checks unless no other is available; and not failed by this request unless no other is
// left. It is pool itself if all may be chosen.
func (s *snapshot[T]) open(pool reverseproxy.UpstreamPool, failed *failures) reverseproxy.UpstreamPool {
	all := s.down == nil
	for _, u := range s.upstreams {
		all = all && !u.drained.Load() && !failed.has(u)
	}
	if all {
		return pool
	}
	for _, down := range []bool{false, true} {
		if down && !s.panics {
			break
		}
		for _, f := range []*failures{failed, nil} {
			if part, available := s.part(pool, f, down); available {
				return part
			}
		}
	}
	return nil
}

// part returns the upstreams of pool that are neither drained nor in failed, and with or without those that are down; and
// whether any of them is available.
func (s *snapshot[T]) part(pool reverseproxy.UpstreamPool, failed *failures, down bool) (part reverseproxy.UpstreamPool, available bool) {
	for i, u := range pool {
		if s.upstreams[i].drained.Load() || failed.has(s.upstreams[i]) || s.isDown(i) && !down {
			continue
		}
		part = append(part, u)
		available = available || u.Available()
	}
	return part, available
}
