// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestIdleUpstreamsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		idle, busy, drained, weighed := r.get("idle:1"), r.get("busy:1"), r.get("drained:1"), r.get("weighed:1")
		busy.inFlight.Add(1)
		r.drain(drained)
		r.setWeight(weighed, 2)
		held, err := r.claim("named:1", "consistent_hash", 1)
		if err != nil {
			t.Fatal(err)
		}
		generation := r.generation.Load()

		time.Sleep(idleLimit - time.Second)
		r.get("other:1")
		if r.get("idle:1") != idle || r.generation.Load() != generation {
			t.Fatal("an upstream was forgotten before its hour")
		}
		time.Sleep(2 * sweepInterval)
		r.get("another:1")
		if got := fmt.Sprint(r.known()); got != "[another:1 busy:1 drained:1 named:1 other:1 weighed:1]" {
			t.Fatalf("known are %s", got)
		}
		if r.generation.Load() == generation {
			t.Fatal("forgetting did not invalidate snapshots")
		}

		if err := held.Release(); err != nil {
			t.Fatal(err)
		}
		busy.inFlight.Add(-1)
		r.undrain(drained)
		r.setWeight(weighed, 0)
		time.Sleep(idleLimit + sweepInterval)
		r.get("last:1")
		if got := fmt.Sprint(r.known()); got != "[last:1]" {
			t.Fatalf("known are %s, want the new one only", got)
		}
	})
}

func TestRegistryIsBounded(t *testing.T) {
	r := newRegistry()
	busy := r.get("busy:1")
	busy.inFlight.Add(1)
	for i := range 3 * maxUpstreams {
		r.get(fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255))
	}
	if n := len(r.known()); n > maxUpstreams || r.get("busy:1") != busy {
		t.Fatalf("%d upstreams are known, want at most %d and the busy one among them", n, maxUpstreams)
	}
	for _, u := range r.upstreams {
		u.inFlight.Store(1)
	}
	for i := range 2 * maxUpstreams { // nothing can be forgotten: further ones work, but are not kept
		if u := r.get(fmt.Sprintf("192.168.%d.%d:80", i>>8, i&255)); u == nil {
			t.Fatal("no state")
		}
	}
	if n := len(r.known()); n > maxUpstreams {
		t.Fatalf("%d upstreams are known", n)
	}
}

// What was counted for upstreams without a label of their own stays counted when they are forgotten.
func TestForgottenUpstreamsStayCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.get("a:1").tally.count(outcome{status: 200, elapsed: 20 * time.Millisecond})
		time.Sleep(idleLimit + sweepInterval)
		r.get("b:1").tally.count(outcome{status: 503, elapsed: 20 * time.Second})
		sums, remembered := r.totals()
		s := sums[dynamicLabel]
		if remembered != 1 || len(sums) != 1 || s.requests() != 2 || s.failures() != 1 || s.byLatency[4] != 1 || s.byLatency[boundCount] != 1 {
			t.Fatalf("%d remembered, sums %+v", remembered, s)
		}
	})
}

func TestClaimsOverlap(t *testing.T) {
	r := newRegistry()
	old, err := r.claim("a:1", "consistent_hash", 2)
	if err != nil {
		t.Fatal(err)
	}
	u := r.get("a:1")
	same, err := r.claim("a:1", "consistent_hash", 2) // a reload
	if err != nil {
		t.Fatal(err)
	}
	rejected, err := r.claim("a:1", "consistent_hash", 5) // a reload that is rejected
	if err != nil {
		t.Fatal(err)
	}
	if s := r.status(u); s.Weight != 5 || len(s.Policies) != 1 || s.Dynamic {
		t.Fatalf("status %+v", s)
	}
	for _, held := range []interface{ Release() error }{&rejected, &old} {
		if err := held.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.status(u); s.Weight != 2 || len(s.Policies) != 1 {
		t.Fatalf("after the rejected reload: %+v", s)
	}
	r.setWeight(u, 7)
	if s := r.status(u); s.Weight != 7 || !s.WeightOverridden {
		t.Fatalf("with the operator's weight: %+v", s)
	}
	if err := same.Release(); err != nil {
		t.Fatal(err)
	}
	if s := r.status(u); len(s.Policies) != 0 || s.Weight != 7 {
		t.Fatalf("after the last config: %+v", s)
	}
}

func TestResolver(t *testing.T) {
	registry := newRegistry()
	fixed := reverseproxy.UpstreamPool{{Dial: "a:1"}, {Dial: "b:1"}}
	builds := 0
	r := resolver[int]{registry: registry, static: fixed, derive: func(u []*upstream) int { builds++; return len(u) }}
	check := func(what string, pool reverseproxy.UpstreamPool, want int) {
		t.Helper()
		s := r.resolve(pool)
		if builds != want || s.derived != len(pool) {
			t.Fatalf("%s: %d builds of %d upstreams, want %d of %d", what, builds, s.derived, want, len(pool))
		}
		for i, u := range pool {
			if s.upstreams[i] != registry.get(u.Dial) {
				t.Fatalf("%s: %s has the state of %s", what, u.Dial, s.upstreams[i].address)
			}
		}
	}
	check("static", fixed, 1)
	check("static again", fixed, 1)
	check("part of it", fixed[:1], 2)
	dynamic := func(dials ...string) (pool reverseproxy.UpstreamPool) {
		for _, dial := range dials {
			pool = append(pool, &reverseproxy.Upstream{Dial: dial})
		}
		return pool
	}
	check("dynamic", dynamic("c:1", "d:1"), 3)
	check("dynamic, made anew", dynamic("c:1", "d:1"), 3)
	check("dynamic, another order", dynamic("d:1", "c:1"), 4)
	reused := dynamic("c:1", "d:1")
	check("dynamic slice", reused, 5)
	reused[1] = &reverseproxy.Upstream{Dial: "e:1"}
	check("dynamic slice, changed in place", reused, 6)
	registry.setWeight(registry.get("c:1"), 2)
	check("weight changed", reused, 7)
	check("weight changed, again", reused, 7)
}

func TestOpen(t *testing.T) {
	pool, _ := newPool(3)
	r := resolver[int]{registry: newRegistry(), derive: func([]*upstream) int { return 0 }}
	s := r.resolve(pool)
	states := s.upstreams
	if got := s.open(pool, nil); len(got) != 3 || &got[0] != &pool[0] {
		t.Error("nothing to leave out, but another slice")
	}
	one := &failures{upstreams: states[:1]}
	if got := s.open(pool, one); len(got) != 2 || got[0] != pool[1] {
		t.Errorf("after a failure: %v", got)
	}
	if got := s.open(pool, &failures{upstreams: states}); len(got) != 3 {
		t.Errorf("after failing everywhere: %v", got)
	}
	states[1].drained.Store(true)
	if got := s.open(pool, one); len(got) != 1 || got[0] != pool[2] {
		t.Errorf("with one drained: %v", got)
	}
	states[0].drained.Store(true)
	states[2].drained.Store(true)
	if got := s.open(pool, one); len(got) != 0 {
		t.Errorf("with all drained: %v", got)
	}
}

func TestUnknownUpstream(t *testing.T) {
	var known []string
	for i := range maxListed + 20 {
		known = append(known, fmt.Sprintf("app%03d:80", i))
	}
	for n, want := range map[int]string{
		0:              "none is known, as no policy of Gatehouse runs",
		2:              "known are: app000:80, app001:80",
		maxListed + 20: "app099:80, and 20 more",
	} {
		if got := unknownUpstream("x", known[:n]).Error(); !strings.HasSuffix(got, want) {
			t.Errorf("of %d: %s", n, got)
		}
	}
}
