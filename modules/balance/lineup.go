// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// field is a pool made ready for the estimator: its upstreams as candidates, in the pool's order.
type field struct {
	candidates []estimator.Candidate
	away       []atomic.Bool // which upstreams were unhealthy when last looked at
	anyAway    atomic.Int64  // how many
}

// newField derives the field of a pool. The weight and the zone of an upstream follow from its address; whether it was
// away, from the pool as it was before.
func newField(b *book, upstreams []*upstream, weights map[string]float64, zones zones, before *snapshot[*field]) *field {
	f := &field{candidates: make([]estimator.Candidate, len(upstreams)), away: make([]atomic.Bool, len(upstreams))}
	wasAway := awayIn(before)
	for i, u := range upstreams {
		f.candidates[i] = estimator.Candidate{
			Upstream: u.estimate(b), Weight: u.weightOr(weightOf(weights, u.address)), Zone: zones.of(u.address),
		}
		if wasAway[u] {
			f.away[i].Store(true)
			f.anyAway.Add(1)
		}
	}
	return f
}

// awayIn returns the upstreams that were unhealthy when last looked at.
func awayIn(s *snapshot[*field]) map[*upstream]bool {
	if s == nil {
		return nil
	}
	f := s.derived
	all := make(map[*upstream]bool, f.anyAway.Load())
	for i, u := range s.upstreams {
		if f.away[i].Load() {
			all[u] = true
		}
	}
	return all
}

// lineup is who may get a request, at best all of the pool. Whoever gets one must release it.
type lineup struct {
	pool       reverseproxy.UpstreamPool // or its likeness, in a panic
	candidates []estimator.Candidate
	index      []int32 // of the candidates in the pool; nil if they stand in the pool's order
	scratch    *scratch
	request    estimator.Request
}

// scratch is what a lineup is made of that leaves somebody out.
type scratch struct {
	candidates []estimator.Candidate
	index      []int32
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// in returns the position in the pool of a candidate.
func (l *lineup) in(candidate int) int {
	if l.index == nil {
		return candidate
	}
	return int(l.index[candidate])
}

func (l *lineup) release() {
	if l.scratch != nil {
		clear(l.scratch.candidates) // keeps no upstream alive
		scratches.Put(l.scratch)
		*l = lineup{}
	}
}

// lineUp returns who of a pool that is resolved may get the request: not drained, available, not found down by active
// checks unless nobody else can take it, and not failed by it unless nobody else is left.
func (e *estimates) lineUp(s *snapshot[*field], pool reverseproxy.UpstreamPool, r *http.Request) lineup {
	failed := e.proxy.retries.failed(r)
	l := lineup{
		pool: pool, candidates: s.derived.candidates, request: estimator.Request{Retry: failed != nil, Pool: len(pool)},
	}
	if failed != nil || s.derived.anyAway.Load() > 0 || !s.allOpen(pool) {
		l.scratch = scratches.Get().(*scratch)
		l.request.Pool = s.inService()
		if e.panics(s, pool) {
			l.pool = likeness(pool)
		} else {
			note(s, pool, e.book.now())
		}
		for _, last := range []bool{false, true} {
			if last && (!s.panics || len(l.candidates) > 0) {
				break
			}
			if l.narrow(s, failed, last); len(l.candidates) == 0 && failed != nil {
				l.narrow(s, nil, last)
			}
		}
	}
	l.request.Askable = e.asker != nil
	l.request.Copyable = e.copier != nil && failed == nil && estimator.AnyEjected(l.candidates) && copyable(r)
	return l
}

// panics reports whether Caddy finds too few upstreams healthy for that to count: two that are a little ill serve better
// than none. It leaves a circuit breaker alone: that one speaks for the whole handler.
func (e *estimates) panics(s *snapshot[*field], pool reverseproxy.UpstreamPool) bool {
	healthy := 0
	for i, u := range pool {
		if u.Healthy() && !s.upstreams[i].drained.Load() {
			healthy++
		}
	}
	return float64(healthy) < e.panic*float64(s.inService()) && e.proxy.handler.CB == nil
}

// likeness returns a pool in which nobody is unhealthy.
func likeness(pool reverseproxy.UpstreamPool) reverseproxy.UpstreamPool {
	all := make(reverseproxy.UpstreamPool, len(pool))
	for i, u := range pool {
		all[i] = &reverseproxy.Upstream{Host: u.Host, Dial: u.Dial, MaxRequests: u.MaxRequests}
	}
	return all
}

// allOpen reports whether every upstream may get requests.
func (s *snapshot[T]) allOpen(pool reverseproxy.UpstreamPool) bool {
	if s.drains || s.down != nil {
		return false
	}
	for _, u := range pool {
		if !u.Available() {
			return false
		}
	}
	return true
}

// narrow lists those that may get the request, with or without those that are down.
func (l *lineup) narrow(s *snapshot[*field], failed *failures, down bool) {
	l.candidates, l.index = l.scratch.candidates[:0], l.scratch.index[:0]
	for i, u := range l.pool {
		if state := s.upstreams[i]; !state.drained.Load() && !failed.has(state) && (down || !s.isDown(i)) && u.Available() {
			l.candidates = append(l.candidates, s.derived.candidates[i])
			l.index = append(l.index, int32(i))
		}
	}
	l.scratch.candidates, l.scratch.index = l.candidates, l.index
}

// note takes note of who is unhealthy, in the eyes of our checks or Caddy's, active or passive, or of a circuit breaker,
// and has those that are back grow into the pool slowly.
func note(s *snapshot[*field], pool reverseproxy.UpstreamPool, now int64) {
	f := s.derived
	for i, u := range pool {
		away := s.isDown(i) || !u.Healthy()
		switch {
		case away == f.away[i].Load() || !f.away[i].CompareAndSwap(!away, away):
		case away:
			f.anyAway.Add(1)
		default:
			f.anyAway.Add(-1)
			f.candidates[i].Upstream.StartRamp(now)
		}
	}
}
