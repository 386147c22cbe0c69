// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/goleak"
)

// Context returns a context for provisioning modules outside a running config; apps that they ask for are made on
// demand. Its storage is a folder of the test's. It is cancelled when the test ends, which cleans the modules up.
func Context(t testing.TB) caddy.Context {
	t.Helper()
	storage := map[string]string{"module": "file_system", "root": t.TempDir()}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: new(bool)}},
		StorageRaw: caddyconfig.JSON(storage, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// Request makes a request as Caddy's server would hand it to a handler: with replacer, variables and the client's address,
// which comes from remote ("203.0.113.7:1234").
func Request(w http.ResponseWriter, method, target, remote string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = remote
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
}

// Serve runs one request through a handler whose next answers 200, and returns the answer with the handler's error.
func Serve(h caddyhttp.MiddlewareHandler, method, target, remote string) (*httptest.ResponseRecorder, error) {
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	return w, h.ServeHTTP(w, Request(w, method, target, remote), next)
}

// Advance lets d pass in a testing/synctest bubble, and everything that was due in it happen.
func Advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// NoLeaks fails the test if goroutines are left at its end that were not there at its start. Call it first, so that it
// checks last.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, before,
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
			// Caddy stops the admin endpoint of a config only when the next one is loaded.
			goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2.replaceLocalAdminServer.func2"))
	})
}

// Provision provisions a module outside a running config, and cleans it up when the test ends.
func Provision[M interface {
	caddy.Provisioner
	caddy.CleanerUpper
}](t testing.TB, module M) M {
	t.Helper()
	if err := module.Provision(Context(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := module.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return module
}
