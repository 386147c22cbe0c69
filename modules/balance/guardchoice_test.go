// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"pgregory.net/rapid"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// What a policy offers becomes what is wanted, exactly.
func TestReweighProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		shares := func(name string) []float64 {
			all, sum := make([]float64, n), 0.0
			for i := range all {
				all[i] = float64(rapid.IntRange(0, 9).Draw(t, name))
				sum += all[i]
			}
			if sum == 0 {
				all[0], sum = 1, 1
			}
			for i := range all {
				all[i] /= sum
			}
			return all
		}
		offered, wanted := shares("offered"), shares("wanted")
		const steps = 200
		got := make([]float64, n)
		for to := range offered {
			for a := range steps {
				for b := range steps {
					i := reweigh(to, offered, wanted, (float64(a)+.5)/steps, (float64(b)+.5)/steps)
					got[i] += offered[to] / (steps * steps)
				}
			}
		}
		for i := range wanted {
			if math.Abs(got[i]-wanted[i]) > 0.01 {
				t.Fatalf("offered %.3f, wanted %.3f, got %.3f", offered, wanted, got)
			}
		}
	})
}

func TestDraw(t *testing.T) {
	shares := []float64{0, .25, 0, .75, 0}
	for number, want := range map[float64]int{0: 1, .2499: 1, .25: 3, .9999: 3, 1: 3} {
		if got := draw(shares, number); got != want {
			t.Errorf("%g: %d, want %d", number, got, want)
		}
	}
}

// choosingOf is a choice among upstreams with these weights, of which some are admitted.
func choosingOf(t *testing.T, weights []float64, admit []bool) *choosing {
	t.Helper()
	var l lineup
	c := new(choosing)
	var pool reverseproxy.UpstreamPool
	var states []*upstream
	for i, weight := range weights {
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: string(rune('a' + i))})
		states = append(states, &upstream{address: pool[i].Dial})
		l.candidates = append(l.candidates, estimator.Candidate{Weight: weight})
	}
	l.pool = pool
	c.begin(states, l)
	clear(c.admit)
	for i, admitted := range admit {
		c.set(i, admitted)
	}
	return c
}

func dials(pool reverseproxy.UpstreamPool) (all string) {
	for _, u := range pool {
		all += u.Dial
	}
	return all
}

func TestVisible(t *testing.T) {
	c := choosingOf(t, []float64{1, 1, 1}, []bool{true, true, true})
	if got := c.visible(nil); &got[0] != &c.pool[0] {
		t.Error("nobody is left out, but the policy gets another slice")
	}
	c = choosingOf(t, []float64{1, 1, 1, 1}, []bool{true, false, true, false})
	if got := dials(c.visible(nil)); got != "ac" {
		t.Errorf("visible are %s, want ac", got)
	}
	turns := []float64{3, 5, 1, 1}
	counts := map[string]int{}
	for range 4000 {
		c.share(turns)
		got := dials(c.visible(turns))
		if got[0] != 'a' || got[2] != 'c' {
			t.Fatalf("positions moved: %s", got)
		}
		counts[got[1:2]]++
		counts[got[3:4]]++
	}
	if a := float64(counts["a"]) / 8000; a < .7 || a > .8 || counts["a"]+counts["c"] != 8000 {
		t.Errorf("left-out places went to %v, want three of four to a", counts)
	}
	kept := c.part[:cap(c.part)]
	c.release()
	if slices.ContainsFunc(kept, func(u *reverseproxy.Upstream) bool { return u != nil }) {
		t.Error("a choice that was given back keeps upstreams alive")
	}
}

func TestTakeTurns(t *testing.T) {
	for _, test := range []struct {
		turns  []float64
		admit  []bool
		want   []bool
		someBe bool
	}{
		{[]float64{1, 2, 3}, []bool{true, false, true}, []bool{true, false, true}, true},
		{[]float64{1, 0, 3}, []bool{true, true, true}, []bool{true, false, true}, true},
		{[]float64{1, 1}, []bool{true, true, true}, []bool{true, true, false}, true},
		{[]float64{1, 0, 3}, []bool{false, true, false}, []bool{true, false, true}, true}, // nobody left: better the ill ones
		{[]float64{0, 0}, []bool{true, true, true}, []bool{false, false, false}, false},
	} {
		c := choosingOf(t, []float64{1, 1, 1}, test.admit)
		some := c.takeTurns(test.turns)
		n := 0
		for _, admitted := range c.admit {
			if admitted {
				n++
			}
		}
		if some != test.someBe || !slices.Equal(c.admit, test.want) || n != c.admitted {
			t.Errorf("%v of %v: %v (%d), %t", test.turns, test.admit, c.admit, c.admitted, some)
		}
	}
}

// Weights are met by the choice of the least loaded too, at rest exactly and under load as far as it goes.
func TestLeastLoaded(t *testing.T) {
	c := choosingOf(t, []float64{3, 1, 1}, []bool{true, true, false})
	c.share(nil)
	counts := map[string]float64{}
	for range 20_000 {
		counts[c.leastLoaded().Dial] += 1. / 20_000
	}
	if math.Abs(counts["a"]-.75) > .02 || counts["c"] != 0 {
		t.Errorf("at rest: %v, want 3:1:0", counts)
	}
	c.states[0].inFlight.Store(60)
	c.states[1].inFlight.Store(30)
	for range 100 {
		if got := c.leastLoaded().Dial; got != "a" {
			t.Fatal("60 requests by weight 3 are less than 30 by weight 1")
		}
	}
}

func TestNature(t *testing.T) {
	request := func(change func(r *http.Request)) *http.Request {
		r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://app.example/a?k=1", "203.0.113.7:1234")
		change(r)
		return r
	}
	plain := request(func(*http.Request) {})
	header := request(func(r *http.Request) { r.Header.Set("X-K", "v") })
	cookie := request(func(r *http.Request) { r.Header.Set("Cookie", "lb=v") })
	client := request(func(r *http.Request) {
		*r = *gatehousetest.Request(httptest.NewRecorder(), "GET", "/a?k=1", "203.0.113.8:1")
	})
	for _, test := range []struct {
		config string
		weighs weighing
		turns  int
		// by are requests that are bound by different keys than the plain one, and free is whether that one is not bound.
		by   []*http.Request
		free bool
	}{
		{`{"policy":"random"}`, byShare, 0, nil, true},
		{`{"policy":"round_robin"}`, byShare, 0, nil, true},
		{`{"policy":"first"}`, unweighted, 0, nil, true},
		{`{"policy":"least_conn"}`, byLoad, 0, nil, true},
		{`{"policy":"random_choose","choose":3}`, byLoad, 0, nil, true},
		{`{"policy":"weighted_round_robin","weights":[3,1]}`, byShare, 2, nil, true},
		{`{"policy":"ip_hash"}`, byShare, 0, []*http.Request{client}, false},
		{`{"policy":"client_ip_hash"}`, byShare, 0, []*http.Request{client}, false},
		{`{"policy":"uri_hash"}`, byShare, 0, nil, false},
		{`{"policy":"query","key":"k"}`, byShare, 0, nil, false},
		{`{"policy":"query","key":"none"}`, byShare, 0, nil, true},
		{`{"policy":"header","field":"X-K"}`, byShare, 0, []*http.Request{header}, true},
		{`{"policy":"header","field":"X-K","fallback":{"policy":"first"}}`, byShare, 0, []*http.Request{header}, true},
		{`{"policy":"header","field":"X-K","fallback":{"policy":"cookie","fallback":{"policy":"weighted_round_robin","weights":[1,2,3]}}}`, byShare, 3, []*http.Request{header, cookie}, true},
		{`{"policy":"cookie"}`, byShare, 0, []*http.Request{cookie}, true},
		{`{"policy":"consistent_hash","weights":{"a:1":2}}`, unweighted, 0, []*http.Request{client}, false},
		{`{"policy":"strangers","weights":"x","fallback":7}`, byShare, 0, []*http.Request{client}, false},
	} {
		n, err := natureOf(json.RawMessage(test.config))
		if err != nil {
			t.Errorf("%s: %v", test.config, err)
			continue
		}
		if n.weighs != test.weighs || len(n.turns) != test.turns || (n.key(plain) == 0) != test.free {
			t.Errorf("%s: weighs %d, %d turns, key %d", test.config, n.weighs, len(n.turns), n.key(plain))
		}
		for _, r := range test.by {
			if key := n.key(r); key == 0 || key == n.key(plain) || key != n.key(r) {
				t.Errorf("%s: a request with a key of its own has %d", test.config, key)
			}
		}
	}
	for _, broken := range []string{`7`, `{"policy":"header"}`, `{"policy":"weighted_round_robin","weights":"x"}`} {
		if _, err := natureOf(json.RawMessage(broken)); err == nil {
			t.Errorf("%s: no error", broken)
		}
	}
}

// guardOf provisions a guard around a policy, in a handler with n upstreams.
func guardOf(t testing.TB, inner string, n int) (*Guard, reverseproxy.UpstreamPool, *http.Request) {
	t.Helper()
	h := &reverseproxy.Handler{LoadBalancing: &reverseproxy.LoadBalancing{
		SelectionPolicyRaw: json.RawMessage(`{"policy":"guard","inner":` + inner + `}`),
	}}
	for range n {
		h.Upstreams = append(h.Upstreams, &reverseproxy.Upstream{Dial: gatehousetest.FreeAddress(t)})
	}
	config, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	v, err := gatehousetest.Context(t).LoadModuleByID("http.handlers.reverse_proxy", config)
	if err != nil {
		t.Fatal(err)
	}
	h = v.(*reverseproxy.Handler)
	r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "/", "203.0.113.7:1234")
	return h.LoadBalancing.SelectionPolicy.(*Guard), h.Upstreams, r
}
