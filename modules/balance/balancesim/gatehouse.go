// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"math/rand/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// Ours returns Gatehouse's own policies with the given parameters: the code that runs in the proxy.
func Ours(p estimator.Params) []Rival {
	return []Rival{
		{Name: "least_response_time", New: func(pool Pool) Policy { return newChosen(pool, p, estimator.LeastResponseTime) }},
		{Name: "least_bandwidth", New: func(pool Pool) Policy { return newChosen(pool, p, estimator.LeastBandwidth) }},
		{Name: "guard_least_conn", New: func(pool Pool) Policy { return newGuarded(pool, p, newLeastConn(pool)) }},
		{Name: "guard_round_robin", New: func(pool Pool) Policy { return newGuarded(pool, p, newRoundRobin(pool)) }},
	}
}

// answerBytes is the body of every simulated answer.
const answerBytes = 10_000

// balanced is what a chooser and a guard have in common.
type balanced struct {
	pool       Pool
	upstreams  []*estimator.Upstream
	chooser    *estimator.Chooser
	rand       *rand.Rand
	candidates []estimator.Candidate
	maxEjected int
}

func newBalanced(pool Pool, p estimator.Params, m estimator.Method) *balanced {
	b := &balanced{pool: pool}
	for range pool.Weight {
		b.upstreams = append(b.upstreams, estimator.New(p))
	}
	b.chooser = estimator.NewChooser(p, m, func() uint64 { return b.rand.Uint64() })
	return b
}

// prepare lists the candidates; their indices are those of v.Servers.
func (b *balanced) prepare(v *View) estimator.Request {
	b.rand, b.candidates = v.Rand, b.candidates[:0]
	out := 0
	for _, s := range v.Servers {
		b.candidates = append(b.candidates, estimator.Candidate{
			Upstream: b.upstreams[s], Weight: b.pool.Weight[s], Zone: uint8(b.pool.Zone[s]),
		})
		out += count(b.upstreams[s].Ejected())
	}
	b.maxEjected = max(b.maxEjected, out)
	return estimator.Request{Copyable: v.Copyable, Askable: true}
}

// MostEjected is the largest number of upstreams that were ejected at a time.
func (b *balanced) MostEjected() int { return b.maxEjected }

func (b *balanced) Sent(now int64, server int) func(int64, bool) {
	a := new(estimator.Attempt)
	b.upstreams[server].Begin(a, now)
	return func(at int64, failed bool) {
		a.Headers(at, failed)
		a.Received(at, answerBytes)
		a.Done(at, estimator.Answered)
	}
}

// Asked implements Asker.
func (b *balanced) Asked(_ int64, server int) func(int64, bool) {
	return func(at int64, failed bool) { b.upstreams[server].Asked(at, !failed) }
}

func named(v *View, i int) int {
	if i == estimator.None {
		return None
	}
	return v.Servers[i]
}

// chosen is a policy of ours.
type chosen struct{ *balanced }

func newChosen(pool Pool, p estimator.Params, m estimator.Method) Policy {
	return chosen{newBalanced(pool, p, m)}
}

func (c chosen) Pick(v *View) Pick {
	r := c.prepare(v)
	choice := c.chooser.Choose(v.Now, c.candidates, r)
	return Pick{To: named(v, choice.To), Copy: named(v, choice.Copy), Own: choice.Own}
}

// guarded is a stock policy under the guard.
type guarded struct {
	*balanced
	inner Policy
	admit []bool
}

func newGuarded(pool Pool, p estimator.Params, inner Policy) Policy {
	return &guarded{newBalanced(pool, p, estimator.LeastResponseTime), inner, make([]bool, len(pool.Weight))}
}

func (g *guarded) Pick(v *View) Pick {
	r := g.prepare(v)
	_, choice := g.chooser.Admit(v.Now, g.candidates, r, g.admit[:len(g.candidates)])
	if choice.Why == estimator.Probed {
		return to(named(v, choice.To))
	}
	inner := *v
	inner.Servers = nil
	for i, s := range v.Servers {
		if g.admit[i] {
			inner.Servers = append(inner.Servers, s)
		}
	}
	if len(inner.Servers) == 0 {
		return Pick{To: None, Copy: None}
	}
	pick := g.inner.Pick(&inner)
	pick.Copy, pick.Own = named(v, choice.Copy), choice.Own
	return pick
}

func (g *guarded) Sent(now int64, server int) func(int64, bool) {
	inner, mine := g.inner.Sent(now, server), g.balanced.Sent(now, server)
	return func(at int64, failed bool) {
		inner(at, failed)
		mine(at, failed)
	}
}
