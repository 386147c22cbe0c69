// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package refusal_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
)

// refuser is a handler that refuses everything.
type refuser struct{ refusal *refusal.Refusal }

func init() { caddy.RegisterModule(refuser{}) }

func (refuser) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_refuse", New: func() caddy.Module { return new(refuser) }}
}

func (h *refuser) Provision(caddy.Context) (err error) {
	h.refusal, err = refusal.New(refusal.Problem{
		Status: 429, Type: "https://example.com/slow-down", Detail: "Wait.", Err: errors.New("over the limit"),
		Extensions: map[string]any{"policy": "logins"},
	})
	return err
}

func (h *refuser) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	w.Header().Set("Retry-After", "7")
	return h.refusal.Answer(w, r)
}

// config serves test_refuse to every host, with the given error routes on the listener.
func config(errorRoutes string) []byte {
	return []byte(`{"apps":{"http":{"servers":{"s":{"listen":[":8080"],
		"routes":[{"handle":[{"handler":"test_refuse"}]}],
		"errors":{"routes":` + errorRoutes + `}}}}}}`)
}

func TestAnswer(t *testing.T) {
	answer := `{"handler":"static_response","status_code":"{http.error.status_code}","body":"sorry: {http.error.message}"}`
	tests := map[string]struct {
		errors   string
		document bool
	}{
		"no error routes":            {`[]`, true},
		"a route for everything":     {`[{"handle":[` + answer + `]}]`, false},
		"another site's error route": {`[{"match":[{"host":["other.example"]}],"handle":[` + answer + `]}]`, true},
		"this site's error route":    {`[{"match":[{"host":["127.0.0.1"]}],"handle":[` + answer + `]}]`, false},
		"a route for another status": {`[{"match":[{"expression":"{http.error.status_code} == 404"}],"handle":[` + answer + `]}]`, true},
		"a route for this status":    {`[{"match":[{"expression":"{http.error.status_code} == 429"}],"handle":[` + answer + `]}]`, false},
		"a subroute for this status": {`[{"match":[{"host":["127.0.0.1"]}],"handle":[{"handler":"subroute","routes":[
			{"match":[{"expression":"{http.error.status_code} == 429"}],"handle":[` + answer + `]}]}]}]`, false},
		"a subroute for another status": {`[{"match":[{"host":["127.0.0.1"]}],"handle":[{"handler":"subroute","routes":[
			{"match":[{"expression":"{http.error.status_code} == 404"}],"handle":[` + answer + `]}]}]}]`, true},
	}
	server := gatehousetest.Start(t, ":8080")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := server.ReloadJSON(config(test.errors)); err != nil {
				t.Fatal(err)
			}
			resp := server.Get("/")
			if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "7" {
				t.Fatalf("status %d, headers %v", resp.StatusCode, resp.Header)
			}
			if !test.document {
				if resp.Body != "sorry: over the limit" {
					t.Fatalf("the error route did not answer: %q", resp.Body)
				}
				return
			}
			checkDocument(t, resp)
		})
	}
}

func checkDocument(t *testing.T, resp gatehousetest.Response) {
	t.Helper()
	var got struct {
		Type, Title, Detail, Policy string
		Status                      int
	}
	if err := json.Unmarshal([]byte(resp.Body), &got); err != nil {
		t.Fatalf("body %q: %v", resp.Body, err)
	}
	if got.Type != "https://example.com/slow-down" || got.Title != "Too Many Requests" || got.Detail != "Wait." ||
		got.Status != 429 || got.Policy != "logins" {
		t.Errorf("document %+v", got)
	}
	if ct := resp.Header.Get("Content-Type"); ct != refusal.ContentType {
		t.Errorf("Content-Type %q", ct)
	}
	if cc := resp.Header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("Cache-Control %q", cc)
	}
}

func TestNewRejects(t *testing.T) {
	for name, p := range map[string]refusal.Problem{
		"no error status":      {Status: 200},
		"no status":            {},
		"a repeated member":    {Status: 403, Extensions: map[string]any{"status": 1}},
		"an unencodable value": {Status: 403, Extensions: map[string]any{"f": func() {}}},
	} {
		if _, err := refusal.New(p); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	h := new(refuser)
	if err := h.Provision(caddy.Context{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	w := nullWriter{http.Header{}}
	r := gatehousetest.Request(w, "GET", "/", "203.0.113.7:1")
	for b.Loop() {
		if err := h.refusal.Answer(w, r); err != nil {
			b.Fatal(err)
		}
	}
}

type nullWriter struct{ header http.Header }

func (w nullWriter) Header() http.Header       { return w.header }
func (nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (nullWriter) WriteHeader(int)             {}
