// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
)

func TestAllow(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPut, "/", nil)
	if err := adminapi.Allow(w, r, http.MethodGet, http.MethodPut); err != nil || w.Header().Get("Allow") != "" {
		t.Errorf("an allowed method: %v, Allow: %q", err, w.Header().Get("Allow"))
	}
	err := adminapi.Allow(w, r, http.MethodPost, http.MethodDelete)
	var refused caddy.APIError
	if !errors.As(err, &refused) || refused.HTTPStatus != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "DELETE, POST" {
		t.Fatalf("another method: %v, Allow: %q", err, w.Header().Get("Allow"))
	}
	if want := "method PUT is not allowed here; allowed: DELETE, POST"; refused.Err.Error() != want {
		t.Errorf("got %q, want %q", refused.Err, want)
	}
}

// Before there is a config, nobody knows what it will have.
func TestRunning(t *testing.T) {
	var refused caddy.APIError
	if err := adminapi.Running(); !errors.As(err, &refused) || refused.HTTPStatus != http.StatusServiceUnavailable {
		t.Errorf("without a config: %v", err)
	}
	if err := caddy.Load([]byte(`{"admin":{"disabled":true,"config":{"persist":false}}}`), true); err != nil {
		t.Fatal(err)
	}
	if err := adminapi.Running(); err != nil {
		t.Errorf("with a config: %v", err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
}

func TestAnswer(t *testing.T) {
	w := httptest.NewRecorder()
	if err := adminapi.Answer(w, []int{1}); err != nil || w.Body.String() != "[1]\n" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v: %q %v", err, w.Body, w.Header())
	}
	if err := adminapi.Answer(w, func() {}); err == nil {
		t.Error("what is no JSON was written")
	}
}
