// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import "time"

// Variation is what a set of the standard scenarios is made from.
type Variation struct {
	// Name is put before the scenarios' names.
	Name string
	// Servers is the number of servers, Workers how many workers each has.
	Servers, Workers int
	// Load is the usual load, Slowdown how many times slower the slow server is.
	Load, Slowdown float64
	// Sigma is the spread of the lognormal demand.
	Sigma float64
	// Bad is the index of the server with the fault.
	Bad int
	// Length is the simulated time of a run, where the scenario does not need its own.
	Length time.Duration
	// FaultAt is when outages begin and servers join.
	FaultAt time.Duration
}

// Tuning is the variation on which the parameters were chosen, with TuningSeeds.
func Tuning() Variation {
	return Variation{"", 5, 8, .7, 5, 1, 4, 120 * time.Second, 30 * time.Second}
}

// HeldOut is a variation that no parameter was chosen on.
func HeldOut() Variation {
	return Variation{"perturbed: ", 7, 10, .72, 6, .95, 2, 115 * time.Second, 37 * time.Second}
}

// TuningSeeds are the seeds that the parameters were chosen on.
func TuningSeeds() []uint64 { return []uint64{1, 2, 3} }

// HeldOutSeeds are seeds that no parameter was chosen on.
func HeldOutSeeds() []uint64 { return []uint64{201, 202, 203} }

const (
	ours       = "least_response_time"
	guardLeast = "guard_least_conn"
	guardTurns = "guard_round_robin"
	second     = Duration(time.Second)
)

// pool returns the variation's servers, of which the bad one is changed.
func (v Variation) pool(change func(*Server)) []Server {
	servers := make([]Server, v.Servers)
	for i := range servers {
		servers[i].Workers = v.Workers
	}
	if change != nil {
		change(&servers[v.Bad])
	}
	return servers
}

func (v Variation) scenario(name string, servers []Server) Scenario {
	bad := v.Bad
	return Scenario{
		Name: v.Name + name, Servers: servers, Load: v.Load, Duration: Duration(v.Length), Watch: &bad,
		Demand: Demand{Sigma: v.Sigma},
	}
}

// Standard returns the standard scenarios in a variation, with the promised figures.
func Standard(v Variation) []Case {
	var cases []Case
	cases = append(cases, v.speed()...)
	cases = append(cases, v.faults()...)
	cases = append(cases, v.joins()...)
	return append(cases, v.others()...)
}

// speed are the scenarios without faults.
func (v Variation) speed() []Case {
	fair := 1 / float64(v.Servers)
	slow := func(s *Server) { s.Slowdown = v.Slowdown }
	against := func(what string, of func(Result) float64, limit float64) Figure {
		return Figure{What: what, Policy: ours, Of: of, Against: "oracle", Limit: limit, Control: "random"}
	}
	busy := v.scenario("one slow server, load .9", v.pool(slow))
	busy.Load = .9
	return []Case{
		{
			Scenario: v.scenario("identical servers", v.pool(nil)), About: "nobody herds, nobody starves",
			Figures: []Figure{
				against("mean / oracle", mean, 1.02),
				{What: "least share", Policy: ours, Of: leastShare, Limit: fair - .01, AtLeast: true, Control: "first"},
				{What: "largest share", Policy: ours, Of: mostShare, Limit: fair + .01, Control: "first"},
			},
		},
		{
			Scenario: v.scenario("one slow server", v.pool(slow)), About: "the share is the slow server's",
			Figures: []Figure{
				against("mean / oracle", mean, 1.03),
				against("p99 / oracle", p99, 1.03),
				against("p99.9 / oracle", p999, 1.06),
				{What: "share of the slow one", Policy: ours, Of: share(v.Bad), Limit: .005, Control: "least_conn"},
			},
		},
		{Scenario: busy, About: "the slow server is needed now and then"},
		v.few(slow),
	}
}

func (v Variation) few(slow func(*Server)) Case {
	single := v
	single.Workers = 1
	return Case{Scenario: single.scenario("one slow server, single workers", single.pool(slow)), About: "every request queues"}
}

// faults are stalls and failures.
func (v Variation) faults() []Case {
	from := Duration(v.FaultAt)
	outage := []Window{{From: from, For: min(60*second, Duration(v.Length)/2)}}
	hole := func(s *Server) { s.Failures = outage }
	bad := v.scenario("black hole", v.pool(hole))
	full := v.scenario("black hole, the rest nearly full", v.pool(hole))
	full.Load = .97 * float64(v.Servers-1) / float64(v.Servers)
	part := outage[0]
	part.Value = .3
	some := v.scenario("30 % failures", v.pool(func(s *Server) { s.Failures = []Window{part} }))
	errors := Figure{What: "errors of an outage", Policy: ours, Of: errorsOf, Limit: 10, Control: "least_conn"}
	guarded := errors
	guarded.Policy = guardLeast
	total := func(limit float64) Figure {
		return Figure{What: "failed requests", Policy: ours, Of: failed, Limit: limit, Control: "least_conn"}
	}
	return []Case{
		v.stalls("2 s stalls", 40*second, []Figure{
			{What: "p99.9 / oracle", Policy: ours, Of: p999, Against: "oracle", Limit: 1.02, Control: "random"},
		}),
		v.stalls("2 s stalls, often", 12*second, nil),
		v.stallsOfOne(),
		{Scenario: bad, About: "one server fails everything at once", Figures: []Figure{errors, guarded}},
		v.longOutage(errors, "an hour", 3600*second, 50, 1),
		v.longOutage(errors, "an hour", 3600*second, 50, 0),
		v.longOutage(errors, "a day", 24*3600*second, 5, 0),
		{Scenario: full, About: "the others run at 97 %", Figures: []Figure{errors, total(.0002)}},
		{Scenario: some, About: "one server fails 30 % of its requests", Figures: []Figure{total(.0005)}},
	}
}

// stalls lets one server after the other stall.
func (v Variation) stalls(name string, every Duration, figures []Figure) Case {
	servers := v.pool(nil)
	for i := range servers {
		servers[i].Stalls = []Window{{From: 15*second + every*Duration(i), For: 2 * second, Every: every * Duration(len(servers))}}
	}
	return Case{Scenario: v.scenario(name, servers), About: "the oracle sees stalls before they begin", Figures: figures}
}

// stallsOfOne lets the bad server stall again and again, at a rate at which p99.9 is twice what a stall may hold: what the first
// stalls teach must help in the next ones.
func (v Variation) stallsOfOne() Case {
	v.Workers, v.Sigma = 4, .7
	sc := v.scenario("2 s stalls of one server", v.pool(func(s *Server) {
		s.Stalls = []Window{{From: 3 * second, For: 2 * second, Every: 6 * second}}
	}))
	sc.Load, sc.Rate, sc.Demand.Mean = 0, 66*float64(v.Servers), 38*Duration(time.Millisecond)
	return Case{Scenario: sc, About: "p99.9 is that of two requests a stall", Figures: []Figure{
		{What: "p99.9 / least_conn", Policy: ours, Of: p999, Against: "least_conn", Limit: .35, Control: "random"},
	}}
}

// longOutage is a long black hole at a rate of requests a second, with or without requests that may be copied to probe.
func (v Variation) longOutage(f Figure, name string, length Duration, rate, copyable float64) Case {
	sc := v.scenario("black hole for "+name, v.pool(func(s *Server) {
		s.Failures = []Window{{From: 60 * second, For: length}}
	}))
	sc.Load, sc.Rate, sc.Duration, sc.Copyable = 0, rate, length+120*second, &copyable
	c := Case{Scenario: sc, About: "probes cost no client anything", Figures: []Figure{f}}
	if copyable == 0 {
		c.Name += ", no request may be copied"
		c.About = "the proxy asks by requests of its own"
	}
	return c
}

// joins are servers that come, or come back.
func (v Variation) joins() []Case {
	fair := 1 / float64(v.Servers+1)
	fromStart := Duration(v.FaultAt)
	cold := func(name string, from, to Duration) Scenario {
		sc := v.scenario(name, append(v.pool(nil), Server{
			Workers: v.Workers, Join: fromStart, Cold: &Cold{Slowdown: 10, Requests: 600},
		}))
		sc.From, sc.To, sc.Duration = fromStart+from, fromStart+to, fromStart+to
		sc.Watch = &v.Servers
		return sc
	}
	low := v.scenario("20 req/s after a transient", v.pool(func(s *Server) {
		s.Slow = []Window{{From: 10 * second, For: second, Value: 100}}
	}))
	low.Load, low.Rate, low.From, low.Duration = 0, 20, 11*second, 111*second
	return []Case{
		{
			Scenario: low, About: "one server was 100x slow for a second; shares of the next 100 s",
			Figures: []Figure{{
				What: "least share", Policy: ours, Of: leastShare, Limit: .4 / float64(v.Servers), AtLeast: true, Control: "first",
			}},
		},
		{
			Scenario: cold("cold join, first 10 s", 0, 10*second), About: "a new server, 10x slow until it has served some 600",
			Figures: []Figure{
				{What: "p99 ms", Policy: ours, Of: p99, Limit: 75, Control: "least_conn"},
				{What: "p99.9 ms", Policy: ours, Of: p999, Limit: 210, Control: "least_conn"},
			},
		},
		{
			Scenario: cold("cold join, 30 to 60 s later", 30*second, 60*second), About: "the share is the newcomer's",
			Figures: []Figure{{
				What: "newcomer's share", Policy: ours, Of: share(v.Servers), Limit: .72 * fair, AtLeast: true, Control: "oracle",
			}},
		},
	}
}

// others are zones, several proxies, large pools, and pools that fail a little.
func (v Variation) others() []Case {
	near, far := Server{Count: 4, Workers: v.Workers}, Server{Count: 4, Workers: v.Workers, Zone: 1, RTT: Duration(30500 * time.Microsecond)}
	zones := v.scenario("far sites", []Server{near, far})
	zones.Load = v.Load - .1
	zones.Watch = nil
	proxies := v.scenario("one slow server, four proxies", v.pool(func(s *Server) { s.Slowdown = v.Slowdown }))
	proxies.Proxies = 4
	gray := v.scenario("gray server", v.pool(func(s *Server) { s.Tail = &Tail{.05, Duration(200 * time.Millisecond)} }))
	ill := v.scenario("all fail 2 %", v.pool(nil))
	for i := range ill.Servers {
		ill.Servers[i].Failures = []Window{{For: ill.Duration, Value: .02}}
	}
	return []Case{
		{
			Scenario: zones, About: "four near servers, four with 30 ms more",
			Figures: []Figure{{What: "mean / least_conn", Policy: ours, Of: mean, Against: "least_conn", Limit: 1.15, Control: "oracle"}},
		},
		v.slightlyIll(),
		{Scenario: ill, About: "nobody is worse than the others: nothing to eject"},
		{Scenario: proxies, About: "proxies that know nothing of one another"},
		{Scenario: gray, About: "one server takes 200 ms more for 5 % of its requests"},
		v.large("50 servers, two slow", 48, 40*second), v.large("200 servers, two slow", 198, 10*second),
	}
}

// slightlyIll is a pool of two that fail 10 % each.
func (v Variation) slightlyIll() Case {
	sc := v.scenario("two servers, both fail 10 %", []Server{{Count: 2, Workers: v.Workers, Failures: []Window{{For: Duration(v.Length), Value: .1}}}})
	sc.Watch = nil
	c := Case{Scenario: sc, About: "to eject both would be to refuse everything"}
	for _, policy := range []string{ours, guardLeast, guardTurns} {
		c.Figures = append(
			c.Figures,
			Figure{What: "proxy-made 503s", Policy: policy, Of: refused, Limit: 0, Control: "least_conn_passive"},
			Figure{What: "most ejected", Policy: policy, Of: mostEjected, Limit: 1, Control: "least_conn_passive"},
		)
	}
	return c
}

func (v Variation) large(name string, fast int, length Duration) Case {
	sc := v.scenario(name, []Server{{Count: fast, Workers: 2}, {Count: 2, Workers: 2, Slowdown: v.Slowdown}})
	sc.Duration, sc.From = length, 2*second
	sc.Watch = &fast
	return Case{Scenario: sc, About: "the share is a slow server's"}
}
