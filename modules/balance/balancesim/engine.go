// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Each stream of random numbers has its own constant, so that a policy's draws change neither arrivals nor demands.
const (
	arrivalStream = 1
	policyStream  = 2
	luckStream    = 3
)

// answer is an event: the answer to a request is back at the proxy.
type answer struct {
	at, arrived int64
	server      int
	failed      bool
	counted     bool // false for copies
	answered    func(now int64, failed bool)
}

// run is the state of one simulation.
type run struct {
	sc      *Scenario
	world   *world
	proxies []Policy
	view    View
	luck    *rand.Rand
	pending heap
	tally   tally
}

// Run simulates one scenario under one policy; equal arguments give equal results.
func Run(sc *Scenario, rival Rival, seed uint64) (Result, error) {
	r := &run{sc: sc, world: &world{mean: float64(sc.Demand.Mean)}, luck: rand.New(rand.NewPCG(seed, luckStream))}
	pool := Pool{}
	for _, s := range sc.servers() {
		r.world.servers = append(r.world.servers, newServer(s, int64(sc.Duration)))
		pool.Weight = append(pool.Weight, s.Weight)
		pool.Zone = append(pool.Zone, s.Zone)
	}
	for range sc.Proxies {
		r.proxies = append(r.proxies, rival.New(pool))
	}
	r.view = View{Rand: rand.New(rand.NewPCG(seed, policyStream)), world: r.world}
	r.tally.perServer = make([]serverTally, len(r.world.servers))
	arrivals := rand.New(rand.NewPCG(seed, arrivalStream))
	rate := sc.rate()
	for i, t := 0, next(arrivals, 0, rate); t < int64(sc.Duration); i, t = i+1, next(arrivals, t, rate) {
		r.deliver(t)
		demand := sc.Demand.draw(arrivals)
		r.view.Copyable = arrivals.Float64() < *sc.Copyable
		if err := r.arrive(r.proxies[i%len(r.proxies)], t, demand); err != nil {
			return Result{}, fmt.Errorf("scenario %q, policy %q: %w", sc.Name, rival.Name, err)
		}
	}
	r.deliver(math.MaxInt64) // requests that are stuck at the end count too
	result := r.tally.result()
	for _, p := range r.proxies {
		if e, ok := p.(interface{ MostEjected() int }); ok {
			result.MostEjected = max(result.MostEjected, float64(e.MostEjected()))
		}
	}
	return result, nil
}

func next(r *rand.Rand, t int64, rate float64) int64 { return t + int64(r.ExpFloat64()/rate*1e9) }

// arrive lets one proxy choose for the request that arrives at t.
func (r *run) arrive(p Policy, t int64, demand float64) error {
	r.view.Now, r.view.Servers = t, r.view.Servers[:0]
	for i, s := range r.world.servers {
		if int64(s.Join) <= t {
			r.view.Servers = append(r.view.Servers, i)
		}
	}
	pick := p.Pick(&r.view)
	if pick.To == None {
		r.tally.refused++
		return nil
	}
	if !slices.Contains(r.view.Servers, pick.To) {
		return fmt.Errorf("picked server %d, which is not in the pool", pick.To)
	}
	r.send(p.Sent, pick.To, t, demand, true)
	if pick.Copy == None {
		return nil
	}
	sent := p.Sent
	if pick.Own {
		asker, ok := p.(Asker)
		if !ok {
			return fmt.Errorf("%T asks nobody: it is no Asker", p)
		}
		sent = asker.Asked
	}
	if !pick.Own && !r.view.Copyable || !slices.Contains(r.view.Servers, pick.Copy) {
		return fmt.Errorf("copied a request to server %d, which is not allowed", pick.Copy)
	}
	r.send(sent, pick.Copy, t, demand, false)
	return nil
}

func (r *run) send(sent func(int64, int) func(int64, bool), server int, t int64, demand float64, counted bool) {
	answered := sent(t, server)
	back, failed := r.world.servers[server].serve(t, demand, r.luck)
	r.pending.push(answer{at: back, arrived: t, server: server, failed: failed, counted: counted, answered: answered})
}

// deliver hands out the answers that are back by until.
func (r *run) deliver(until int64) {
	for len(r.pending) > 0 && r.pending[0].at <= until {
		a := r.pending.pop()
		a.answered(a.at, a.failed)
		if !a.counted {
			r.tally.copies++
			continue
		}
		r.tally.perServer[a.server].errors += count(a.failed)
		from, to := r.sc.counted()
		if a.arrived >= from && a.arrived < to {
			r.tally.add(a)
		}
	}
}

// heap is a binary heap of answers, the earliest first.
type heap []answer

func (h *heap) push(a answer) {
	*h = append(*h, a)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].at <= s[i].at {
			return
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *heap) pop() answer {
	s := *h
	top, last := s[0], len(s)-1
	s[0], s[last] = s[last], answer{}
	s = s[:last]
	for i := 0; ; {
		small := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if s[c].at < s[small].at {
				small = c
			}
		}
		if small == i {
			break
		}
		s[small], s[i] = s[i], s[small]
		i = small
	}
	*h = s
	return top
}
