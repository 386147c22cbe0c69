// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"container/heap"
	"container/list"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// The simulation: ten caches with 16 workers each, at a nominal load of 0.8. A hit takes 5 ms and a miss 50 ms on average,
// each cache holds 4 % of the keys, and one key has 35 % of the traffic.
const (
	simNodes   = 10
	simWorkers = 16
	simKeys    = 100_000
	simCache   = simKeys * 4 / 100
	simRate    = 6919 // requests a second
	simHot     = 0.35
	simWarm    = 15 * time.Second
	simLength  = 45 * time.Second
)

type simRequest struct {
	key     int
	arrived time.Duration
	done    time.Duration
	node    *simNode
}

type simNode struct {
	state    *upstream
	busy     int
	queue    []*simRequest
	requests float64
	recent   *list.List
	cached   map[int]*list.Element
}

// lookup reports whether the key is in the cache, and puts it there.
func (n *simNode) lookup(key int) bool {
	if e, ok := n.cached[key]; ok {
		n.recent.MoveToFront(e)
		return true
	}
	n.cached[key] = n.recent.PushFront(key)
	if n.recent.Len() > simCache {
		delete(n.cached, n.recent.Remove(n.recent.Back()).(int))
	}
	return false
}

// running is a heap of requests by the time of their completion.
type running []*simRequest

func (h running) Len() int           { return len(h) }
func (h running) Less(i, j int) bool { return h[i].done < h[j].done }
func (h running) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *running) Push(x any)        { *h = append(*h, x.(*simRequest)) }
func (h *running) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

type simulation struct {
	rule    rule
	pool    reverseproxy.UpstreamPool
	ranking *ranking
	nodes   []*simNode
	running running
	random  *rand.Rand
	zipf    []float64 // cumulated popularity
	start   time.Time

	served, hits float64
	latencies    []time.Duration
}

func newSimulation(r rule) *simulation {
	pool, states := newPool(simNodes)
	s := &simulation{rule: r, pool: pool, ranking: newRanking(states, nil), random: rand.New(rand.NewPCG(1, 2)), start: time.Now()}
	for _, state := range states {
		s.nodes = append(s.nodes, &simNode{state: state, recent: list.New(), cached: map[int]*list.Element{}})
	}
	sum := 0.0
	for i := range simKeys {
		sum += math.Pow(float64(i+1), -0.9)
		s.zipf = append(s.zipf, sum)
	}
	return s
}

// advance lets the bubble's clock follow the simulation's, ten milliseconds behind at most: the sketch, which alone reads
// it, halves once in ten seconds, and to sleep for every request would take most of the test's time.
func (s *simulation) advance(now time.Duration) {
	if behind := now - time.Since(s.start); behind >= 10*time.Millisecond {
		time.Sleep(behind)
	}
}

func (s *simulation) run() {
	for next := time.Duration(0); next < simLength; {
		next += time.Duration(s.random.ExpFloat64() / simRate * 1e9)
		for len(s.running) > 0 && s.running[0].done <= next {
			s.complete()
		}
		s.advance(next)
		s.arrive(next)
	}
}

func (s *simulation) arrive(now time.Duration) {
	key := simKeys
	if s.random.Float64() >= simHot {
		key = sort.SearchFloat64s(s.zipf, s.random.Float64()*s.zipf[simKeys-1])
	}
	chosen := s.rule.choose(s.ranking, s.pool, scramble(uint64(key)), nil)
	n := s.nodes[slices.Index(s.pool, chosen)]
	n.state.inFlight.Add(1)
	n.state.used.Store(int64(now))
	if now > simWarm {
		n.requests++
	}
	req := &simRequest{key: key, arrived: now, node: n}
	if n.busy == simWorkers {
		n.queue = append(n.queue, req)
		return
	}
	s.serve(req, now)
}

func (s *simulation) serve(req *simRequest, now time.Duration) {
	req.node.busy++
	hit := req.node.lookup(req.key)
	mean := 0.050
	if hit {
		mean = 0.005
	}
	if now > simWarm {
		s.served++
		if hit {
			s.hits++
		}
	}
	const sigma = 0.5 // lognormal
	seconds := mean * math.Exp(sigma*s.random.NormFloat64()-sigma*sigma/2)
	req.done = now + time.Duration(seconds*1e9)
	heap.Push(&s.running, req)
}

func (s *simulation) complete() {
	req := heap.Pop(&s.running).(*simRequest)
	req.node.busy--
	req.node.state.inFlight.Add(-1)
	if req.arrived > simWarm {
		s.latencies = append(s.latencies, req.done-req.arrived)
	}
	if len(req.node.queue) > 0 {
		next := req.node.queue[0]
		req.node.queue = req.node.queue[1:]
		s.serve(next, req.done)
	}
}

// report returns the requests' peak/mean over the nodes, the 99th percentile of the latency and the hit rate in percent.
func (s *simulation) report() (peak float64, p99 time.Duration, hits float64) {
	total := 0.0
	for _, n := range s.nodes {
		peak = max(peak, n.requests)
		total += n.requests
	}
	slices.Sort(s.latencies)
	return peak / total * simNodes, s.latencies[len(s.latencies)*99/100], 100 * s.hits / s.served
}

func TestHotKeyIsSpread(t *testing.T) {
	run := func(name string, r rule) (peak float64, p99 time.Duration, hits float64) {
		synctest.Test(t, func(t *testing.T) {
			if r.hot != nil {
				r.hot = newHotKeys(defaultShare, time.Duration(defaultHalfLife)) // in the bubble's time
			}
			s := newSimulation(r)
			s.run()
			peak, p99, hits = s.report()
			t.Logf("%-18s requests peak/mean %.3f, p99 %v, hit rate %.2f %%", name, peak, p99.Round(100*time.Microsecond), hits)
		})
		return peak, p99, hits
	}
	_, _, unbounded := run("plain hashing", rule{})
	peak, p99, hits := run("the default", rule{factor: defaultFactor, least: safeLoad, hot: new(hotKeys), above: defaultAbove})
	if peak > 1.15 || p99 > 95*time.Millisecond || hits < unbounded-0.5 {
		t.Errorf("want peak/mean <= 1.15, p99 <= 95ms, hit rate >= %.2f %%", unbounded-0.5)
	}
	bounded, _, _ := run("balance_factor 1.25", rule{factor: 1.25, hot: new(hotKeys), above: defaultAbove})
	if bounded > peak+0.02 {
		t.Errorf("a stricter bound made the peak/mean worse: %.3f", bounded)
	}
}
