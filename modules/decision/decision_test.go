// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package decision_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func placeholders(t *testing.T, r *http.Request, text string) string {
	t.Helper()
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll(text, "-")
}

func TestPlaceholders(t *testing.T) {
	const all = "{http.gatehouse.ip_ban.outcome} {http.gatehouse.ip_ban.prefix} {http.gatehouse.ip_ban.reason}"
	rec := decision.New("ip_ban", "prefix", "reason")
	r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "/", "203.0.113.7:1")
	if got := placeholders(t, r, all); got != "- - -" {
		t.Fatalf("before a decision: %q", got)
	}
	rec.Record(r, "banned", "203.0.113.0/24", "abuse")
	if got := placeholders(t, r, all); got != "banned 203.0.113.0/24 abuse" {
		t.Fatalf("after a decision: %q", got)
	}
	rec.Record(r, "passed") // the details of the one before are not left standing
	if got := placeholders(t, r, all); got != "passed - -" {
		t.Fatalf("after the next decision: %q", got)
	}
}

func TestBareRequest(t *testing.T) {
	decision.New("ip_ban").Record(httptest.NewRequest(http.MethodGet, "/", nil), "banned") // no replacer, no log: no panic
}

func TestTooManyDetails(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a detail without a name was lost silently")
		}
	}()
	decision.New("ip_ban").Record(httptest.NewRequest(http.MethodGet, "/", nil), "banned", "203.0.113.0/24")
}

type words string

func (w words) Tell(int) string { return string(w) }

// A request that was made from another one, with its variables, as a refresh in the background is, tells of its own decisions,
// and leaves the other's alone.
func TestNotesOfACopy(t *testing.T) {
	rec := decision.New("test")
	r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "/", "203.0.113.7:1")
	rec.Attach(r, new(decision.Note), words("first"), nil)
	other := caddyhttp.PrepareRequest(r.Clone(t.Context()), caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
	maps.Copy(other.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any))
	rec.Attach(other, new(decision.Note), words("of the copy"), func(decision.Teller) bool { return true })
	for want, req := range map[string]*http.Request{"first": r, "of the copy": other} {
		if got := placeholders(t, req, "{http.gatehouse.test.outcome}"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	rec.Attach(r, new(decision.Note), words("second"), nil)
	if got := placeholders(t, r, "{http.gatehouse.test.outcome}"); got != "second" {
		t.Errorf("after the next decision: %q", got)
	}
}

type decider struct{}

func (decider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_decider", New: func() caddy.Module { return new(decider) }}
}

func (decider) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	rec := decision.New("test", "prefix", "reason")
	rec.Record(r, "first", "dropped", "dropped")
	rec.Record(r, "second", "", "abuse")
	return next.ServeHTTP(w, r)
}

func TestAccessLog(t *testing.T) {
	caddy.RegisterModule(decider{})
	file := filepath.Join(t.TempDir(), "access.log")
	config, err := json.Marshal(map[string]any{
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{
			"writer": map[string]any{"output": "file", "filename": file},
		}}},
		"apps": map[string]any{"http": map[string]any{"servers": map[string]any{"srv0": map[string]any{
			"listen": []string{":8080"}, "logs": map[string]any{},
			"routes": []any{map[string]any{"handle": []any{map[string]any{"handler": "test_decider"}}}},
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := gatehousetest.Start(t, ":8080")
	if err := s.ReloadJSON(config); err != nil {
		t.Fatal(err)
	}
	s.Get("/")
	if err := s.Reload(":8080"); err != nil { // the old server has drained: its access log is written
		t.Fatal(err)
	}
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"test":{"outcome":"second","reason":"abuse"}`; strings.Count(string(log), want) != 1 {
		t.Fatalf("the access log has no %s:\n%s", want, log)
	}
}
