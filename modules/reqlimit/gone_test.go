// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// strict is a shared store that does nothing for a context that is over, as a store over a network.
type strict struct{}

func init() { caddy.RegisterModule(new(strict)) }

func (*strict) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: reqlimit.Namespace + ".test_strict", New: func() caddy.Module { return new(strict) }}
}

func (s *strict) Open(reqlimit.Spec) (reqlimit.Counters, error) { return s, nil }

func (*strict) Take(ctx context.Context, ask *reqlimit.Ask, result *window.Result) error {
	result.Allowed, result.Violated, result.States[0].Remaining = true, -1, ask.Rule.Windows[0].Limit
	return ctx.Err()
}

func (*strict) Give(context.Context, *reqlimit.Ask, *window.Receipt) error {
	return nil
}

func (*strict) Reset(context.Context, *reqlimit.Ask) error { return nil }

func (*strict) Proxies() int { return 1 }

func (*strict) Limits(ctx context.Context, _, _ string) (string, error) { return "7 1m", ctx.Err() }

// A client that goes before it is answered must not look like a store that is away: it would be counted apart, or not at all, and
// the log would speak of an outage. Nor may the entry of its plan be taken for unknown.
func TestClientsThatGoAreNoOutage(t *testing.T) {
	h := &reqlimit.Handler{
		Name: policy(), Windows: []reqlimit.Window{{Limit: 5, Period: caddy.Duration(time.Minute)}},
		StoreRaw: []byte(`{"store":"test_strict"}`), OnStoreError: "open",
		Limits: &reqlimit.Limits{By: "gold", Table: "plans"},
	}
	if err := h.Provision(gatehousetest.Context(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r = caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})
	if err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })); err != nil {
		t.Fatal(err)
	}
	got := repl.ReplaceAll("{http.gatehouse.request_limit.mode}/{http.gatehouse.request_limit.remaining}", "")
	if got != "/7" {
		t.Errorf("mode and remaining are %q: the client's leaving was taken for the store's", got)
	}
}
