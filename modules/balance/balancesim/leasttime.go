// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

// nginx is "least_time header" of nginx 1.31: a moving average (1/20 of each new value, whole milliseconds) in clusters
// of 20 ms, times the connections and this one. An average that nobody renewed is halved for each 10 s
// (fail_timeout) since the server was last chosen, so that slow servers are tried again. Equals take turns.
type nginx struct {
	inFlight
	average []int64 // ms
	chosen  []int64 // s
	turn    int
}

const nginxFailTimeout = 10

func newNginx(p Pool) Policy {
	n := len(p.Weight)
	return &nginx{inFlight: make(inFlight, n), average: make([]int64, n), chosen: make([]int64, n)}
}

func (p *nginx) cost(server int, now int64) float64 {
	ms := p.average[server]
	if idle := now/1e9 - p.chosen[server]; idle > nginxFailTimeout {
		ms >>= min(idle/(nginxFailTimeout+1), 62)
	}
	if ms > 5000 {
		ms = 5000
	} else {
		ms += 20 - ms%20
	}
	return float64(ms) * (1 + p.load(server))
}

func (p *nginx) Pick(v *View) Pick {
	p.turn++
	best := None
	for i := range v.Servers {
		s := v.Servers[(i+p.turn)%len(v.Servers)]
		if best == None || p.cost(s, v.Now) < p.cost(best, v.Now) {
			best = s
		}
	}
	if v.Now/1e9-p.chosen[best] > nginxFailTimeout {
		p.chosen[best] = v.Now / 1e9
	}
	return to(best)
}

func (p *nginx) Sent(now int64, server int) func(int64, bool) {
	release := p.inFlight.Sent(now, server)
	return func(at int64, failed bool) {
		release(at, failed)
		ms := (at - now) / 1e6
		if p.average[server] == 0 {
			p.average[server] = ms
			return
		}
		p.average[server] = (p.average[server]*19 + ms) / 20
	}
}

// traefik is the leasttime strategy of Traefik 3.6: the mean of the last 100 whole milliseconds, times the requests under
// way and this one; a server without answers costs nothing. Equals take turns.
type traefik struct {
	inFlight
	ring [][]int64
	sum  []int64
	at   []int
	turn int
}

const traefikSamples = 100

func newTraefik(p Pool) Policy {
	n := len(p.Weight)
	return &traefik{inFlight: make(inFlight, n), ring: make([][]int64, n), sum: make([]int64, n), at: make([]int, n)}
}

func (p *traefik) cost(server int) float64 {
	if len(p.ring[server]) == 0 {
		return 0
	}
	return float64(p.sum[server]) / float64(len(p.ring[server])) * (1 + p.load(server))
}

func (p *traefik) Pick(v *View) Pick {
	p.turn++
	best := None
	for i := range v.Servers {
		s := v.Servers[(i+p.turn)%len(v.Servers)]
		if best == None || p.cost(s) < p.cost(best) {
			best = s
		}
	}
	return to(best)
}

func (p *traefik) Sent(now int64, server int) func(int64, bool) {
	release := p.inFlight.Sent(now, server)
	return func(at int64, failed bool) {
		release(at, failed)
		ms := (at - now) / 1e6
		p.sum[server] += ms
		if len(p.ring[server]) < traefikSamples {
			p.ring[server] = append(p.ring[server], ms)
			return
		}
		p.sum[server] -= p.ring[server][p.at[server]]
		p.ring[server][p.at[server]] = ms
		p.at[server] = (p.at[server] + 1) % traefikSamples
	}
}
