// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

func rivalNamed(t *testing.T, name string) Rival {
	t.Helper()
	for _, r := range append(append(Rivals(), Ours(estimator.Params{})...), first()) {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no policy %q", name)
	return Rival{}
}

// onlyFirst always takes the first server: a control for the figures about fairness.
type onlyFirst struct{ inFlight }

func (onlyFirst) Pick(v *View) Pick { return to(v.Servers[0]) }

func first() Rival {
	return Rival{Name: "first", New: func(p Pool) Policy { return onlyFirst{make(inFlight, len(p.Weight))} }}
}

func simulate(t *testing.T, sc Scenario, policy string) Result {
	t.Helper()
	if err := sc.Normalize(); err != nil {
		t.Fatal(err)
	}
	r, err := Run(&sc, rivalNamed(t, policy), 7)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestQueueingTheory holds the simulated servers against formulas: if the model is wrong, every figure is.
func TestQueueingTheory(t *testing.T) {
	exponential := Demand{Distribution: "exponential"}
	for _, test := range []struct {
		name   string
		sc     Scenario
		policy string
		want   float64 // mean in ms, without the network's .5
	}{
		{"M/M/1 at .5", Scenario{Load: .5, Demand: exponential, Servers: []Server{{Workers: 1}}}, "first", 20},
		{"M/M/1 at .8", Scenario{Load: .8, Demand: exponential, Servers: []Server{{Workers: 1}}}, "first", 50},
		{"M/D/1 at .8", Scenario{Load: .8, Demand: Demand{Distribution: "constant"}, Servers: []Server{{Workers: 1}}}, "first", 30},
		// Erlang C for 4 servers at .8 is .5964.
		{"M/M/4 at .8", Scenario{Load: .8, Demand: exponential, Servers: []Server{{Workers: 4}}}, "first", 10 + .5964*10/(4*.2)},
		{"split M/M/1 at .5", Scenario{Load: .5, Demand: exponential, Servers: []Server{{Workers: 1, Count: 4}}}, "random", 20},
		// Pollaczek-Khinchine: 10 + .5 * 10 * (1 + e - 1) / (2 * .5) for a lognormal with sigma 1.
		{"M/G/1 at .5", Scenario{Load: .5, Servers: []Server{{Workers: 1}}}, "first", 10 + .5*10*math.E/(2*.5)},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.sc.Name, test.sc.Duration = test.name, 2000*second
			got := simulate(t, test.sc, test.policy).Mean - .5
			if math.Abs(got-test.want) > .05*test.want {
				t.Errorf("mean %.2f ms, theory says %.2f", got, test.want)
			}
		})
	}
}

func TestServerFaults(t *testing.T) {
	constant := Demand{Distribution: "constant"}
	run := func(s Server) Result {
		return simulate(t, Scenario{
			Name: "fault", Rate: 10, Demand: constant, Duration: 400 * second, From: 1, Servers: []Server{s},
		}, "first")
	}
	if r := run(Server{Workers: 100, Slowdown: 5}); math.Abs(r.Mean-50.5) > .01 {
		t.Errorf("5x slow: mean %v, want 50.5", r.Mean)
	}
	if r := run(Server{Failures: []Window{{For: 100 * second}}}); math.Abs(r.Failed-.25) > .02 || r.Errors[0] != math.Round(r.Failed*r.Requests) {
		t.Errorf("failing a quarter of the time: %v failed, %v errors of %v", r.Failed, r.Errors, r.Requests)
	}
	if r := run(Server{Workers: 1000, Stalls: []Window{{From: 10 * second, For: 20 * second, Every: 100 * second}}}); math.Abs(r.Mean-10.5-.2*10_000) > 150 {
		t.Errorf("stalled a fifth of the time for 20 s: mean %v, want about 2010", r.Mean)
	}
	if r := run(Server{Workers: 100, Tail: &Tail{.1, 100 * Duration(1e6)}}); math.Abs(r.Mean-20.5) > 1 {
		t.Errorf("100 ms more for a tenth: mean %v, want about 20.5", r.Mean)
	}
	if r := run(Server{Workers: 100, Cold: &Cold{10, 100}}); r.Mean < 12 || r.P50 > 10.6 {
		t.Errorf("cold at first: mean %v, median %v", r.Mean, r.P50)
	}
}

func TestRunsRepeat(t *testing.T) {
	sc := Standard(Tuning())[1].Scenario
	sc.Duration = 10 * second
	for _, policy := range []string{"least_response_time", "guard_least_conn", "peak_ewma_p2c"} {
		a, b := simulate(t, sc, policy), simulate(t, sc, policy)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the same seed gave %+v and %+v", policy, a, b)
		}
	}
}

// badPolicy picks what it must not.
type badPolicy struct {
	inFlight
	pick Pick
}

func (p badPolicy) Pick(*View) Pick { return p.pick }

func TestPolicyMayNotCheat(t *testing.T) {
	none := 0.
	sc := Scenario{Name: "x", Load: .5, Copyable: &none, Servers: []Server{{}, {Join: 100 * second}}}
	if err := sc.Normalize(); err != nil {
		t.Fatal(err)
	}
	for want, pick := range map[string]Pick{
		"not in the pool": to(1), "not allowed": {To: 0, Copy: 0}, "asks nobody": {To: 0, Copy: 0, Own: true},
	} {
		_, err := Run(&sc, Rival{Name: "bad", New: func(Pool) Policy { return badPolicy{make(inFlight, 2), pick} }}, 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", pick, err, want)
		}
	}
	r, err := Run(&sc, Rival{Name: "refuses", New: func(Pool) Policy { return badPolicy{make(inFlight, 2), to(None)} }}, 1)
	if err != nil || r.Refused == 0 || r.Requests != 0 {
		t.Errorf("a policy that refuses everything: %+v, %v", r, err)
	}
}

// TestRivalsDoAsPublished checks what is known of the rivals by experiment and theory, so that they are no straw men: the
// order of a random choice, two choices and the full scan, and latency-aware ones below them with a slow server.
func TestRivalsDoAsPublished(t *testing.T) {
	identical, slow := Standard(Tuning())[0].Scenario, Standard(Tuning())[1].Scenario
	identical.Duration, slow.Duration = 40*second, 40*second
	order := func(sc Scenario, of func(Result) float64, policies ...string) {
		last := 0.
		for _, p := range policies {
			got := of(simulate(t, sc, p))
			if got <= last {
				t.Errorf("%s: %s has %.2f, no more than the one before it in %v", sc.Name, p, got, policies)
			}
			last = got
		}
	}
	order(identical, mean, "oracle", "p2c_least_conn", "random")
	order(slow, p99, "oracle", "traefik_leasttime", "nginx_least_time", "least_conn", "p2c_least_conn", "random")
	order(slow, p999, "oracle", "peak_ewma_p2c", "least_conn")
}
