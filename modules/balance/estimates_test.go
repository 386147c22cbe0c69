// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// newEstimates returns what a policy holds after Provision, for a pool of n upstreams, with a registry of its own.
func newEstimates(n int, method estimator.Method) (*estimates, reverseproxy.UpstreamPool) {
	pool, _ := newPool(n)
	registry := newRegistry()
	handler := &reverseproxy.Handler{Upstreams: pool, LoadBalancing: &reverseproxy.LoadBalancing{Retries: 1}}
	e := &estimates{proxy: proxy{observer: newObserver(handler, registry), handler: handler, static: pool}}
	e.book = &book{registry: registry, epoch: time.Now()}
	e.proxy.estimation = &estimation{book: e.book, failureStatus: []int{5}}
	e.chooser = estimator.NewChooser(estimator.Params{}, method, nil)
	e.resolver = resolver[*field]{
		registry: registry, static: pool,
		derive: func(upstreams []*upstream) *field {
			return newField(e.book, upstreams, nil, zones{}, e.resolver.current.Load())
		},
	}
	return e, pool
}

func newGet() *http.Request {
	return gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://site/", "203.0.113.7:1234")
}

func TestBooksAreSharedAndSurvive(t *testing.T) {
	r := newRegistry()
	u := r.get("a:1")
	first, held, err := r.openBook("p", estimator.Params{Memory: time.Second, Band: 1})
	if err != nil {
		t.Fatal(err)
	}
	estimate := u.estimate(first)
	if u.estimate(first) != estimate {
		t.Fatal("two estimates in one book")
	}
	// A reload that changes what only choices go by, and one with another memory that is rejected.
	reloaded, heldToo, err := r.openBook("p", estimator.Params{Memory: time.Second, Band: 2})
	if err != nil || u.estimate(reloaded) != estimate {
		t.Fatalf("the reload lost the estimate, %v", err)
	}
	rejected, heldOnce, err := r.openBook("p", estimator.Params{Memory: 2 * time.Second})
	if err != nil || u.estimate(rejected) == estimate {
		t.Fatalf("other parameters, same estimate, %v", err)
	}
	if err := heldOnce.Release(); err != nil || len(u.entries()) != 1 {
		t.Fatalf("%d estimates after the rejected reload, %v", len(u.entries()), err)
	}
	if err := held.Release(); err != nil || u.estimate(first) != estimate {
		t.Fatalf("the first config's end lost the estimate, %v", err)
	}
	if err := heldToo.Release(); err != nil || len(u.entries()) != 0 {
		t.Fatalf("%d estimates after the last config, %v", len(u.entries()), err)
	}
	if u.estimate(first) == nil || len(u.entries()) != 0 {
		t.Fatal("a request that outlives its config leaves an estimate behind")
	}
}

func TestLineUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, pool := newEstimates(4, estimator.LeastResponseTime)
		pool[2].MaxRequests = 1
		states := e.resolver.resolve(pool).upstreams
		size := 4
		check := func(when string, r *http.Request, want ...int) {
			t.Helper()
			l := e.lineUp(e.resolver.resolve(pool), pool, r)
			defer l.release()
			var got []int
			for i := range l.candidates {
				got = append(got, l.in(i))
				if l.candidates[i].Upstream != states[l.in(i)].estimate(e.book) {
					t.Errorf("%s: candidate %d has the estimate of another upstream", when, i)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || l.request.Pool != size {
				t.Errorf("%s: %v of %d, want %v of %d", when, got, l.request.Pool, want, size)
			}
		}
		r := newGet()
		check("at first", r, 0, 1, 2, 3)
		e.proxy.registry.drain(states[1])
		size = 3
		check("one drained", r, 0, 2, 3)
		e.proxy.retries.note(r.Context(), states[3], true)
		check("one failed", r, 0, 2)
		check("another request", newGet(), 0, 2, 3)
		e.proxy.retries.note(r.Context(), states[0], true)
		e.proxy.retries.note(r.Context(), states[2], true)
		check("all failed", r, 0, 2, 3)
		e.proxy.registry.drain(states[0])
		e.proxy.registry.drain(states[2])
		e.proxy.registry.drain(states[3])
		size = 0
		check("all drained", r)
		if got := e.choose(pool, r); got != nil {
			t.Errorf("chose %s of nobody", got.Dial)
		}
	})
}

// An upstream that Caddy found unhealthy, and then healthy again, may be cold.
func TestHealthyAgainRamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, pool := newEstimates(3, estimator.LeastResponseTime)
		estimate := e.resolver.resolve(pool).derived.candidates[0].Upstream
		e.choose(pool, newGet())
		s := e.resolver.resolve(pool)
		s.down = []bool{true, false, false}
		if l := e.lineUp(e.resolver.resolve(pool), pool, newGet()); len(l.candidates) != 2 || estimate.RampFraction(e.book.now()) != 1 {
			t.Fatalf("%d candidates", len(l.candidates))
		}
		e.proxy.registry.generation.Add(1) // the pool is derived anew
		if l := e.lineUp(e.resolver.resolve(pool), pool, newGet()); len(l.candidates) != 3 || estimate.RampFraction(e.book.now()) != 0 {
			t.Fatalf("%d candidates, ramp %v", len(l.candidates), estimate.RampFraction(e.book.now()))
		}
		time.Sleep(15 * time.Second)
		e.lineUp(e.resolver.resolve(pool), pool, newGet())
		if got := estimate.RampFraction(e.book.now()); math.Abs(got-.5) > 1e-6 {
			t.Fatalf("half of the ramp is %v: it began anew", got)
		}
	})
}

func TestCopyable(t *testing.T) {
	for _, c := range []struct {
		method, field string
		body          int64
		want          bool
	}{
		{"GET", "", 0, true},
		{"HEAD", "Authorization", 0, true},
		{"GET", "", 5, false},
		{"GET", "", -1, false},
		{"POST", "", 0, false},
		{"OPTIONS", "", 0, false},
		{"GET", "Upgrade", 0, false},
		{"GET", "Range", 0, false},
		{"GET", "If-None-Match", 0, false},
		{"GET", "If-Modified-Since", 0, false},
	} {
		r := newGet()
		r.Method, r.ContentLength = c.method, c.body
		if c.field != "" {
			r.Header.Set(c.field, "x")
		}
		if got := copyable(r); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestZones(t *testing.T) {
	handler := &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{{Dial: "a:1"}, {Dial: "b:1"}, {Dial: "c:1"}}}
	z, err := newZones(handler, [][]string{{"b:1"}, {"a:1"}})
	if err != nil || z.of("b:1") != 0 || z.of("a:1") != 1 || z.of("c:1") != 2 {
		t.Fatalf("%+v, %v", z, err)
	}
	if z, err := newZones(handler, nil); err != nil || z.of("a:1") != 0 {
		t.Fatalf("%+v, %v", z, err)
	}
	if _, err := newZones(handler, make([][]string, maxZones+1)); err == nil {
		t.Fatal("256 zones were accepted")
	}
}

func BenchmarkEstimatedSelect(b *testing.B) {
	for _, method := range []estimator.Method{estimator.LeastResponseTime, estimator.LeastBandwidth} {
		for _, n := range []int{5, 10, 50, 200} {
			b.Run(fmt.Sprintf("method=%d/n=%d", method, n), func(b *testing.B) {
				e, pool := newEstimates(n, method)
				r := browserRequest()
				e.choose(pool, r)
				for i, u := range e.resolver.resolve(pool).upstreams {
					for j := range 200 {
						var a estimator.Attempt
						u.estimate(e.book).Begin(&a, int64(j)*1e6)
						a.Headers(int64(j)*1e6+int64(10+i)*1e6, false)
						a.Done(int64(j)*1e6+int64(10+i)*1e6, estimator.Answered)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					e.choose(pool, r)
				}
			})
		}
	}
}
