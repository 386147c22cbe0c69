// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
)

// provision makes a handler with the store in memory.
func provision(t testing.TB, h *reqlimit.Handler) *reqlimit.Handler {
	t.Helper()
	h.StoreRaw = []byte(`{"store":"memory"}`)
	return gatehousetest.Provision(t, h)
}

// silent is a response that goes nowhere.
type silent http.Header

func (s silent) Header() http.Header         { return http.Header(s) }
func (s silent) Write(b []byte) (int, error) { return len(b), nil }
func (s silent) WriteHeader(int)             {}

// visitor makes requests as Caddy's server does, and serves them.
type visitor struct {
	plain  *http.Request
	w      silent
	server caddyhttp.Server
}

func newVisitor(i int) *visitor {
	v := &visitor{plain: httptest.NewRequest(http.MethodGet, "/", nil), w: silent{}}
	v.plain.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1234", i>>16, i>>8&255, i&255)
	return v
}

// serve serves one request by h, or by nobody: the difference is what h costs.
func (v *visitor) serve(h caddyhttp.MiddlewareHandler) error {
	clear(v.w)
	r := caddyhttp.PrepareRequest(v.plain, caddy.NewReplacer(), v.w, &v.server)
	if h == nil {
		return done(v.w, r)
	}
	return h.ServeHTTP(v.w, r, caddyhttp.HandlerFunc(done))
}

func done(http.ResponseWriter, *http.Request) error { return nil }

func limitOf(limit int64, period time.Duration) []reqlimit.Window {
	return []reqlimit.Window{{Limit: limit, Period: caddy.Duration(period)}}
}

// simple is the floor: a handler that decides nothing, and tells the same each time in the usual way.
type simple struct{}

func (simple) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	header := w.Header()
	header["Ratelimit"] = []string{`"bench";r=999999999;t=240`}
	header["Ratelimit-Policy"] = []string{`"bench";q=1000000000;w=3600`}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for _, value := range [][2]string{{"outcome", "passed"}, {"policy", "bench"}, {"remaining", "999999999"}, {"class", "gold"}} {
		repl.Set("http.simple."+value[0], value[1])
	}
	return next.ServeHTTP(w, r)
}

// BenchmarkServeHTTP shows what the handler adds to a request: headers, placeholders, access-log field and metrics with it.
// The figure is handler-ns/op: the median over blocks of what they took with the handler, less what as many took without it
// just before. What a machine does meanwhile thus changes it little; to-floor is what the handler took of what one takes that
// only sets as many headers and placeholders. ns/op is of all together.
func BenchmarkServeHTTP(b *testing.B) {
	const block = 1024
	h := provision(b, &reqlimit.Handler{Name: "bench", Windows: limitOf(1e9, time.Hour)})
	three := provision(b, &reqlimit.Handler{Name: "bench3", Windows: []reqlimit.Window{
		{Limit: 1e8, Period: caddy.Duration(time.Second)},
		{Limit: 1e9, Period: caddy.Duration(time.Minute)},
		{Limit: 1e9, Period: caddy.Duration(time.Hour)},
	}})
	for _, c := range []struct {
		name string
		h    caddyhttp.MiddlewareHandler
	}{{"one window", h}, {"three windows", three}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			visitors := make([]*visitor, block)
			for i := range visitors {
				visitors[i] = newVisitor(i)
			}
			took := func(h caddyhttp.MiddlewareHandler) float64 {
				begun := time.Now()
				for _, v := range visitors {
					if err := v.serve(h); err != nil {
						b.Fatal(err)
					}
				}
				return float64(time.Since(begun).Nanoseconds()) / block
			}
			var added, floor []float64
			took(c.h)
			b.ResetTimer()
			for n := 0; n < b.N; n += block {
				without := took(nil)
				added = append(added, took(c.h)-without)
				floor = append(floor, took(simple{})-without)
			}
			slices.Sort(added)
			slices.Sort(floor)
			b.ReportMetric(added[len(added)/2], "handler-ns/op")
			b.ReportMetric(added[len(added)/2]/floor[len(floor)/2], "to-floor")
		})
	}
}

// TestServeHTTPAllocatesLittle holds what a request that passes costs, with everything that it is told.
func TestServeHTTPAllocatesLittle(t *testing.T) {
	h := provision(t, &reqlimit.Handler{Name: policy(), Windows: limitOf(1e9, time.Hour)})
	v := newVisitor(1)
	run := func(h caddyhttp.MiddlewareHandler) float64 {
		return testing.AllocsPerRun(1000, func() {
			if err := v.serve(h); err != nil {
				t.Fatal(err)
			}
		})
	}
	without, with := run(nil), run(h)
	t.Logf("%v allocations without the handler, %v with", without, with)
	if with-without > 4 {
		t.Errorf("the handler makes %v allocations, want at most 4", with-without)
	}
}

// TestMillionKeys sends a million clients through the handler: its metrics do not grow with them.
func TestMillionKeys(t *testing.T) {
	keys := 1_000_000
	if testing.Short() {
		keys = 50_000
	}
	name := policy()
	ctx := gatehousetest.Context(t)
	h := &reqlimit.Handler{Name: name, Windows: limitOf(1, time.Hour), StoreRaw: []byte(`{"store":"memory"}`)}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Cleanup() }()
	v := newVisitor(0)
	r := caddyhttp.PrepareRequest(v.plain, caddy.NewReplacer(), v.w, &v.server)
	vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ExtraLogFieldsCtxKey, nil))
	for i := range keys {
		vars[caddyhttp.ClientIPVarKey] = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		clear(v.w)
		if err := h.ServeHTTP(v.w, r, caddyhttp.HandlerFunc(done)); err != nil {
			t.Fatal(err)
		}
	}
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "policy" && label.GetValue() == name {
					series++
				}
			}
		}
	}
	if runtime.GC(); series == 0 || series > 12 {
		t.Errorf("%d series after %d keys, want at most 12", series, keys)
	}
	t.Logf("%d series after %d keys", series, keys)
}
