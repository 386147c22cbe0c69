// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
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

func TestMethods(t *testing.T) {
	methods := adminapi.Methods{
		http.MethodGet:  func(*http.Request) (any, error) { return "got", nil },
		http.MethodPost: func(*http.Request) (any, error) { return nil, adminapi.Refuse(http.StatusConflict, "taken") },
	}
	for method, want := range map[string]int{http.MethodGet: 0, http.MethodPost: http.StatusConflict, http.MethodPut: http.StatusMethodNotAllowed} {
		w := httptest.NewRecorder()
		err := methods.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		var refused caddy.APIError
		if errors.As(err, &refused); refused.HTTPStatus != want || (err == nil) != (w.Body.String() == "\"got\"\n") {
			t.Errorf("%s: %v %q, want %d", method, err, w.Body, want)
		}
	}
}

func TestRead(t *testing.T) {
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		`{"n":7}`:                           {},
		` {"n":7} `:                         {},
		``:                                  {http.StatusBadRequest, "reading the body: EOF"},
		`{"n":"7"}`:                         {http.StatusBadRequest, "cannot unmarshal"},
		`{"n":7,"m":8}`:                     {http.StatusBadRequest, `unknown field "m"`},
		`{"n":7}{"n":8}`:                    {http.StatusBadRequest, "something follows the JSON value"},
		`{"n":7}x`:                          {http.StatusBadRequest, "invalid character"},
		strings.Repeat(" ", 80):             {http.StatusRequestEntityTooLarge, "longer than 64 bytes"},
		`{"n":7}` + strings.Repeat(" ", 80): {http.StatusRequestEntityTooLarge, "longer than 64 bytes"},
	} {
		var v struct {
			N int `json:"n"`
		}
		err := adminapi.Read(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), 64, &v)
		if want.status == 0 {
			if err != nil || v.N != 7 {
				t.Errorf("%q: %v, %d", body, err, v.N)
			}
			continue
		}
		var refused caddy.APIError
		if !errors.As(err, &refused) || refused.HTTPStatus != want.status || !strings.Contains(refused.Err.Error(), want.text) {
			t.Errorf("%q: %v, want %d %s", body, err, want.status, want.text)
		}
	}
}
