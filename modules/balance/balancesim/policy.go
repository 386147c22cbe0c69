// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import "math/rand/v2"

// None is the server that is no server: as Pick.To the proxy refuses the request, as Pick.Copy nothing is copied.
const None = -1

// Pick is a policy's answer for one request.
type Pick struct {
	// To is the server that gets the request, or None: the proxy answers 503 by itself, which is counted as Refused.
	To int
	// Copy is the server that gets a copy of the request whose answer is thrown away, or None. The client never sees it,
	// yet it is work for that server. It is only allowed where View.Copyable is true.
	Copy int
	// Own means that the copy is a request of the proxy's own instead, which is always allowed. The policy must be an Asker.
	Own bool
}

// Policy chooses servers for one simulated proxy. It knows what a proxy knows: what it sent, when, and what came back.
// The simulator calls it from one goroutine.
type Policy interface {
	// Pick chooses for a request that arrives at v.Now. It must choose among v.Servers.
	Pick(v *View) Pick
	// Sent says that a request leaves for server at now (nanoseconds). The simulator calls answered once, when the
	// answer's headers and body are there; failed means a status of 500 or above.
	Sent(now int64, server int) (answered func(now int64, failed bool))
}

// Asker is a Policy that has its proxy send requests of its own.
type Asker interface {
	// Asked is for them what Policy.Sent is for the others.
	Asked(now int64, server int) (answered func(now int64, failed bool))
}

// Pool is what a proxy's configuration says about the servers; all slices have one element a server of the scenario.
type Pool struct {
	// Weight is the configured weight, 1 where the scenario has none.
	Weight []float64
	// Zone is the configured priority zone: 0 is the nearest, and the only one where the scenario has none.
	Zone []int
}

// Rival is a policy with a name, made anew for every proxy of every run.
type Rival struct {
	// Name is what the table and POLICIES= call it.
	Name string
	// New makes the policy for one proxy.
	New func(Pool) Policy
	// Oracle says that it uses what no proxy can know. Figures are stated against an oracle.
	Oracle bool
}

// View is what a policy may look at when it picks.
type View struct {
	// Now is the time of the request's arrival, in nanoseconds since the start.
	Now int64
	// Servers are the indices of the servers in the pool by now.
	Servers []int
	// Rand is the policies' own stream of random numbers: what a policy draws does not change arrivals and demands.
	Rand *rand.Rand
	// Copyable says that the request is safe (RFC 9110, section 9.2.1) and has no body, so that a copy does no harm.
	Copyable bool

	world *world
}

// Delay is for oracles: the time in nanoseconds until server's answer to a request of average demand would be back,
// with everything that is queued there, its speed and its coming stalls; infinite while it fails requests.
func (v *View) Delay(server int) float64 { return v.world.delay(server, v.Now) }

// least returns the element of servers with the least cost; equal ones are drawn.
func least(r *rand.Rand, servers []int, cost func(int) float64) int {
	best, bestCost, ties := None, 0.0, 0
	for _, s := range servers {
		c := cost(s)
		switch {
		case best == None || c < bestCost:
			best, bestCost, ties = s, c, 1
		case c == bestCost:
			ties++
			if r.IntN(ties) == 0 {
				best = s
			}
		}
	}
	return best
}

// two draws two different servers, or the only one twice.
func two(r *rand.Rand, servers []int) [2]int {
	if len(servers) == 1 {
		return [2]int{servers[0], servers[0]}
	}
	a, b := r.IntN(len(servers)), r.IntN(len(servers)-1)
	if b >= a {
		b++
	}
	return [2]int{servers[a], servers[b]}
}

func to(server int) Pick { return Pick{To: server, Copy: None} }
