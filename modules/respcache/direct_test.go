// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// direct is a handler without a server around it.
type direct struct {
	handler *respcache.Handler
	next    caddyhttp.Handler
	asked   atomic.Int64 // of the next handler
	purger  func(t testing.TB, kind, value string)
	// recorder makes the client's writers, where an answer is not looked at; nil keeps answers.
	recorder func() http.ResponseWriter
}

func newDirect(t testing.TB, next http.HandlerFunc) *direct {
	t.Helper()
	ctx := gatehousetest.Context(t)
	d := &direct{handler: new(respcache.Handler)}
	module, err := ctx.LoadModuleByID("http.handlers.response_cache", []byte(`{"budget":268435456}`))
	if err != nil {
		t.Fatal(err)
	}
	d.handler = module.(*respcache.Handler)
	d.next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		d.asked.Add(1)
		next(w, r)
		return nil
	})
	app, err := ctx.App("response_caches")
	if err != nil {
		t.Fatal(err)
	}
	d.purger = func(t testing.TB, kind, value string) {
		if err := respcache.PurgeForTest(app, respcache.Purge{Kind: kind, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	d.purge(t, "all", "")
	return d
}

func (d *direct) purge(t testing.TB, kind, value string) { d.purger(t, kind, value) }

// get asks for a URL.
func (d *direct) get(url string, headers ...string) *httptest.ResponseRecorder {
	recorded := httptest.NewRecorder()
	var w http.ResponseWriter = recorded
	if d.recorder != nil {
		w = d.recorder()
	}
	r := gatehousetest.Request(w, http.MethodGet, url, "203.0.113.7:1")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
	return recorded
}
