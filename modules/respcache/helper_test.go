// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/ristretto"
)

// within bounds what must happen soon, on a machine that may be busy.
const within = 20 * time.Second

// origin is an upstream whose answers a test gives.
type origin struct {
	*httptest.Server
	hits atomic.Int64

	mu       sync.Mutex
	serve    http.HandlerFunc
	requests []*http.Request
}

func newOrigin(t testing.TB, serve http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{serve: serve}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.hits.Add(1)
		o.mu.Lock()
		serve := o.serve
		if len(o.requests) < 1000 {
			o.requests = append(o.requests, r.Clone(r.Context()))
		}
		o.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

// answer replaces what the origin does.
func (o *origin) answer(serve http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.serve = serve
}

// last is the latest request that the origin got.
func (o *origin) last(t testing.TB) *http.Request {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.requests) == 0 {
		t.Fatal("the origin got no request")
	}
	return o.requests[len(o.requests)-1]
}

func (o *origin) address() string { return strings.TrimPrefix(o.URL, "http://") }

// front starts a proxy with a cache before the origin. options are lines of the directive's block.
func front(t testing.TB, o *origin, options ...string) *gatehousetest.Server {
	t.Helper()
	s := gatehousetest.Start(t, config(o, options...))
	empty(t, s)
	return s
}

func config(o *origin, options ...string) string {
	return fmt.Sprintf("{\n\tmetrics\n}\n:8080 {\n\tresponse_cache {\n\t\t%s\n\t}\n\treverse_proxy %s\n}", strings.Join(options, "\n\t\t"), o.address())
}

// empty purges everything: each test has a cache of its own, but a sure thing is a sure thing.
func empty(t testing.TB, s *gatehousetest.Server) {
	t.Helper()
	purge(t, s, `{"kind":"all"}`)
}

func purge(t testing.TB, s *gatehousetest.Server, purges ...string) {
	t.Helper()
	resp := s.Admin(http.MethodPost, "/gatehouse/cache/purge", `{"purges":[`+strings.Join(purges, ",")+`]}`)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("purging %v: %s %s", purges, resp.Status, resp.Body)
	}
}

// header answers with header lines and a body.
func header(body string, lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
		_, _ = io.WriteString(w, body)
	}
}

// cached reports whether an answer came from the store.
func cached(r gatehousetest.Response) bool {
	return strings.Contains(r.Header.Get("Cache-Status"), "; hit")
}

func stamp(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// eventually waits for a condition.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(time.Millisecond)
	}
}
