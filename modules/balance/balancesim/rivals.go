// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import "math"

// Rivals returns the policies that ours is compared with, each written from its published description. Order is the
// table's.
func Rivals() []Rival {
	return []Rival{
		{Name: "oracle", New: newOracle, Oracle: true},
		{Name: "random", New: newRandom},
		{Name: "round_robin", New: newRoundRobin},
		{Name: "least_conn", New: newLeastConn},
		{Name: "least_conn_passive", New: newPassive},
		{Name: "p2c_least_conn", New: newP2C},
		{Name: "nginx_least_time", New: newNginx},
		{Name: "traefik_leasttime", New: newTraefik},
		{Name: "peak_ewma_p2c", New: newPeakEWMA},
	}
}

// inFlight counts requests under way, for the policies that need nothing else.
type inFlight []int

func (f inFlight) Sent(_ int64, server int) func(int64, bool) {
	f[server]++
	return func(int64, bool) { f[server]-- }
}

func (f inFlight) load(server int) float64 { return float64(f[server]) }

// oracle sends each request where an average one would be answered first: the shortest expected delay. It sees queues,
// speeds, failures and coming stalls. It is greedy: it does not spare the fast servers for those who come later.
type oracle struct{ inFlight }

func newOracle(p Pool) Policy { return oracle{make(inFlight, len(p.Weight))} }

func (oracle) Pick(v *View) Pick { return to(least(v.Rand, v.Servers, v.Delay)) }

// random is any server.
type random struct{ inFlight }

func newRandom(p Pool) Policy { return random{make(inFlight, len(p.Weight))} }

func (random) Pick(v *View) Pick { return to(v.Servers[v.Rand.IntN(len(v.Servers))]) }

// roundRobin is each in turn.
type roundRobin struct {
	inFlight
	turn int
}

func newRoundRobin(p Pool) Policy { return &roundRobin{inFlight: make(inFlight, len(p.Weight))} }

func (p *roundRobin) Pick(v *View) Pick {
	p.turn++
	return to(v.Servers[p.turn%len(v.Servers)])
}

// leastConn is Caddy's least_conn: the fewest requests under way, a draw among equals.
type leastConn struct{ inFlight }

func newLeastConn(p Pool) Policy { return leastConn{make(inFlight, len(p.Weight))} }

func (p leastConn) Pick(v *View) Pick { return to(least(v.Rand, v.Servers, p.load)) }

// passive is least_conn with Caddy's passive health checks (max_fails 1, fail_duration 10s, unhealthy_status 5xx): a server
// that failed a request in the last 10 s is down, and when all are, the proxy answers 503.
type passive struct {
	leastConn
	downUntil []int64
	most      int
}

const passiveFailDuration = 10e9

func newPassive(p Pool) Policy {
	return &passive{leastConn: leastConn{make(inFlight, len(p.Weight))}, downUntil: make([]int64, len(p.Weight))}
}

func (p *passive) Pick(v *View) Pick {
	up := make([]int, 0, len(v.Servers))
	for _, s := range v.Servers {
		if v.Now >= p.downUntil[s] {
			up = append(up, s)
		}
	}
	p.most = max(p.most, len(v.Servers)-len(up))
	return to(least(v.Rand, up, p.load))
}

func (p *passive) MostEjected() int { return p.most }

func (p *passive) Sent(now int64, server int) func(int64, bool) {
	release := p.inFlight.Sent(now, server)
	return func(at int64, failed bool) {
		release(at, failed)
		if failed {
			p.downUntil[server] = at + passiveFailDuration
		}
	}
}

// p2c is the less busy of two drawn at random (Mitzenmacher, The Power of Two Choices, 2001).
type p2c struct{ inFlight }

func newP2C(p Pool) Policy { return p2c{make(inFlight, len(p.Weight))} }

func (p p2c) Pick(v *View) Pick {
	pair := two(v.Rand, v.Servers)
	return to(least(v.Rand, pair[:], p.load))
}

// peakEWMA is Finagle's and Envoy's peak EWMA under two choices: a latency above the average is believed at once, one
// below only over 10 s; the cost is that times the requests under way and this one.
type peakEWMA struct {
	inFlight
	average []float64
	stamp   []int64
}

const (
	peakTau     = 10e9
	peakDefault = 30e6
)

func newPeakEWMA(p Pool) Policy {
	n := len(p.Weight)
	e := &peakEWMA{make(inFlight, n), make([]float64, n), make([]int64, n)}
	for i := range e.average {
		e.average[i] = peakDefault
	}
	return e
}

func (p *peakEWMA) observe(server int, now int64, latency float64) {
	w := math.Exp(-float64(now-p.stamp[server]) / peakTau)
	p.average[server] = max(latency, p.average[server]*w+latency*(1-w))
	p.stamp[server] = now
}

func (p *peakEWMA) Pick(v *View) Pick {
	pair := two(v.Rand, v.Servers)
	return to(least(v.Rand, pair[:], func(s int) float64 {
		decayed := p.average[s] * math.Exp(-float64(v.Now-p.stamp[s])/peakTau)
		return decayed * (p.load(s) + 1)
	}))
}

func (p *peakEWMA) Sent(now int64, server int) func(int64, bool) {
	release := p.inFlight.Sent(now, server)
	return func(at int64, failed bool) {
		release(at, failed)
		p.observe(server, at, float64(at-now))
	}
}
