// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

// provisioned returns a handler, and the app that it got, which is started.
func provisioned(t testing.TB) (*ipban.Handler, *ipban.App) {
	t.Helper()
	ctx := gatehousetest.Context(t)
	handler := new(ipban.Handler)
	if err := handler.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = handler.Cleanup() })
	app, err := ctx.App("ip_bans")
	if err != nil {
		t.Fatal(err)
	}
	if err := app.(*ipban.App).Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.(*ipban.App).Stop() })
	return handler, app.(*ipban.App)
}

func TestPassingDoesNotAllocate(t *testing.T) {
	handler, app := provisioned(t)
	if err := app.BanAddress(t.Context(), mustAddr(someone), 0, "test", ""); err != nil {
		t.Fatal(err)
	}
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	for _, remote := range []string{"198.51.100.1:1", "[2001:db8::1]:1", "@"} {
		w := httptest.NewRecorder()
		r := gatehousetest.Request(w, http.MethodGet, "/", remote)
		if n := testing.AllocsPerRun(100, func() { _ = handler.ServeHTTP(w, r, next) }); n != 0 {
			t.Errorf("%s: %g allocations", remote, n)
		}
	}
	if resp, err := gatehousetest.Serve(handler, http.MethodGet, "/", someone+":1"); err != nil || resp.Code != http.StatusForbidden {
		t.Fatalf("the client is not banned: %d, %v", resp.Code, err)
	}
}

// A banned client does not get around its ban by sending other addresses in a header.
func TestForgedHeaderDoesNotHelpABannedClient(t *testing.T) {
	handler, app := provisioned(t)
	if err := app.BanAddress(t.Context(), mustAddr(someone), 0, "test", ""); err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip"} {
		w := httptest.NewRecorder()
		r := gatehousetest.Request(w, http.MethodGet, "/", someone+":1")
		r.Header.Set(header, "127.0.0.1")
		if err := handler.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusForbidden {
			t.Errorf("with %s: %d, %v", header, w.Code, err)
		}
	}
}

// A trusted proxy's own requests pass, whatever bans its address; those that it forwards are the client's.
func TestTrustedProxyIsNeverBanned(t *testing.T) {
	handler, app := provisioned(t)
	for _, addr := range []string{someone, neighbor} {
		if err := app.BanAddress(t.Context(), mustAddr(addr), 0, "test", ""); err != nil {
			t.Fatal(err)
		}
	}
	for client, want := range map[string]int{someone: http.StatusOK, neighbor: http.StatusForbidden} {
		w := httptest.NewRecorder()
		r := gatehousetest.Request(w, http.MethodGet, "/", someone+":1")
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
		caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, client)
		next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(http.StatusOK); return nil })
		if err := handler.ServeHTTP(w, r, next); err != nil || w.Code != want {
			t.Errorf("client %s behind proxy %s: %d, %v, want %d", client, someone, w.Code, err, want)
		}
	}
}

// Caddy cleans up what it did not get to provision too.
func TestCleanupOfWhatWasNeverProvisioned(t *testing.T) {
	for _, m := range []interface{ Cleanup() error }{new(ipban.Handler), new(ipban.Matcher), new(ipban.App)} {
		if err := m.Cleanup(); err != nil {
			t.Errorf("%T: %v", m, err)
		}
	}
}

// BenchmarkServeHTTP is what a request pays for the directive.
func BenchmarkServeHTTP(b *testing.B) {
	handler, app := provisioned(b)
	if err := app.BanAddress(b.Context(), mustAddr(someone), 0, "test", ""); err != nil {
		b.Fatal(err)
	}
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	for name, remote := range map[string]string{"passed": "198.51.100.1:1", "banned": someone + ":1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			w := httptest.NewRecorder()
			r := gatehousetest.Request(w, http.MethodGet, "/", remote)
			for b.Loop() {
				w.Body.Reset()
				_ = handler.ServeHTTP(w, r, next)
			}
		})
	}
}
