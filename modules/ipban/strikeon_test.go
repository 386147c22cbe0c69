// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

// striker is a handler by which each request is a strike, as request_limit's refusals are.
type striker struct {
	Ban ipban.Rule `json:"ban"`

	striker *ipban.Striker
}

func init() {
	caddy.RegisterModule(striker{})
	httpcaddyfile.RegisterHandlerDirective("test_striker", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		s := new(striker)
		h.Next()
		return s, s.Ban.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("test_striker", httpcaddyfile.After, "encode")
}

func (striker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_striker", New: func() caddy.Module { return new(striker) }}
}

func (s *striker) Provision(ctx caddy.Context) (err error) {
	s.striker, err = ipban.NewStriker(ctx, "test", s.Ban, false)
	return err
}

func (s *striker) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	s.striker.Strike(r)
	return next.ServeHTTP(w, r)
}

// quitter answers with 404 and panics, as reverse_proxy does when the client leaves amid an answer.
type quitter struct{}

func init() {
	caddy.RegisterModule(quitter{})
	httpcaddyfile.RegisterHandlerDirective("test_quitter", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return quitter{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_quitter", httpcaddyfile.Before, "respond")
}

func (quitter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_quitter", New: func() caddy.Module { return quitter{} }}
}

func (quitter) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.URL.Path == "/answered" {
		w.WriteHeader(http.StatusNotFound)
		_ = http.NewResponseController(w).Flush()
	}
	panic(http.ErrAbortHandler)
}

const strikeOn404 = "ip_ban {\n\t\tstrike_on 404 after 3 in 1m for 1h escalate x4 24h\n\t}\n\trespond /missing 404\n\terror /error 404\n\trespond ok"

func TestStrikeOn(t *testing.T) {
	s := gatehousetest.Start(t, config("", strikeOn404))
	for i, path := range []string{"/missing", "/", "/error", "/", "/missing"} { // written, and returned as an error
		if resp := as(t, s, someone, path); resp.StatusCode == http.StatusForbidden {
			t.Fatalf("request %d: banned too early", i+1)
		}
		as(t, s, "198.51.100.1", "/")
	}
	want(t, s, map[string]int{someone: 403, neighbor: 200, "198.51.100.1": 200})
	var check struct {
		Banned   bool
		PastBans int `json:"past_bans"`
		Ban      ipban.Ban
	}
	resp := admin(t, s, http.MethodGet, "/gatehouse/bans/check?address="+someone, "")
	if err := json.Unmarshal([]byte(resp.Body), &check); err != nil {
		t.Fatal(err)
	}
	if b := check.Ban; !check.Banned || check.PastBans != 1 || b.Source != "strike_on 404" || b.Reason != "3 strikes in 1m0s" || b.Level != 1 ||
		b.Expires.Sub(b.Created) != time.Hour {
		t.Errorf("got %s", resp.Body)
	}
	lift(t, s, someone)
	want(t, s, map[string]int{someone: 200})
	text := admin(t, s, http.MethodGet, "/metrics", "").Body
	if metric(t, text, `gatehouse_ip_ban_strikes_total{outcome="banned",policy="strike_on 404"}`) < 1 ||
		metric(t, text, `gatehouse_ip_ban_strikes_total{outcome="counted",policy="strike_on 404"}`) < 2 {
		t.Error("strikes are not counted")
	}
}

// A ban by a rule, and what it counts for, outlive reloads, also one that is rejected; so do strikes.
// A client that breaks off as soon as it has read the status is counted like one that reads on.
func TestStrikesOfClientsThatLeave(t *testing.T) {
	s := gatehousetest.Start(t, config("", "ip_ban {\n\t\tstrike_on 404 2xx after 2 in 1m for 1h\n\t}\n\ttest_quitter"))
	leave := func(path string) {
		req, err := http.NewRequest(http.MethodGet, s.URL(":8080")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", someone)
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body) // until the connection is cut, which is after the strike
			_ = resp.Body.Close()
		}
	}
	for range 3 {
		leave("/unanswered") // is no strike
	}
	leave("/answered")
	checked := func() string {
		return admin(t, s, http.MethodGet, "/gatehouse/bans/check?address="+someone, "").Body
	}
	if got := checked(); !strings.Contains(got, `"banned":false`) {
		t.Fatalf("after one strike: %s", got)
	}
	leave("/answered")
	if got := checked(); !strings.Contains(got, `"banned":true`) {
		t.Errorf("after two strikes: %s", got)
	}
}

func TestStrikesOutliveReloads(t *testing.T) {
	good := config("", strikeOn404)
	s := gatehousetest.Start(t, good)
	as(t, s, someone, "/missing")
	as(t, s, someone, "/missing")
	if err := s.Reload(good); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(config("", "ip_ban\n\treverse_proxy {\n\t\tlb_policy nonexistent\n\t}")); err == nil {
		t.Fatal("a broken config was accepted")
	}
	want(t, s, map[string]int{someone: 200})
	as(t, s, someone, "/missing")
	want(t, s, map[string]int{someone: 403})
	if err := s.Reload(good); err != nil {
		t.Fatal(err)
	}
	want(t, s, map[string]int{someone: 403})
}

func TestStrikeOnDryRun(t *testing.T) {
	for name, text := range map[string]string{
		"of the directive": config("", strings.Replace(strikeOn404, "strike_on", "dry_run\n\t\tstrike_on", 1)),
		"of the app":       config("ip_bans {\n\t\tdry_run\n\t}", strikeOn404),
	} {
		t.Run(name, func(t *testing.T) {
			s := gatehousetest.Start(t, text)
			for range 5 {
				as(t, s, someone, "/missing")
			}
			want(t, s, map[string]int{someone: 200})
			if resp := admin(t, s, http.MethodGet, "/gatehouse/bans", ""); strings.Contains(resp.Body, someone) {
				t.Errorf("a dry run bans: %s", resp.Body)
			}
			out, err := bans(t, s, "", "list", "--dry-run")
			if err != nil || !strings.Contains(out, someone) || !strings.Contains(out, "strike_on 404") {
				t.Errorf("listed %s, %v", out, err)
			}
			resp := admin(t, s, http.MethodGet, "/gatehouse/bans/check?address="+someone, "")
			if !strings.Contains(resp.Body, `"dry_run_ban":{"prefix":"203.0.113.7/32"`) {
				t.Errorf("got %s", resp.Body)
			}
		})
	}
}

// A trusted proxy is not banned for what it is said to have sent, wherever it stands in the chain.
func TestStrikesSpareTrustedProxies(t *testing.T) {
	s := gatehousetest.Start(t, "{\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1 203.0.113.7\n\t}\n}\n:8080 {\n\t"+strikeOn404+"\n}")
	for range 5 {
		as(t, s, someone, "/missing") // the left-most address is the client's word here
		as(t, s, neighbor, "/missing")
	}
	want(t, s, map[string]int{someone: 200, neighbor: 403})
}

func TestStrikesNeedADirectiveThatRefuses(t *testing.T) {
	const strikes = "test_striker after 3 in 1m for 1h\n\trespond ok"
	for name, site := range map[string]string{
		"beside it":          "ip_ban\n\t" + strikes,
		"before it":          "route {\n\t\t" + strikes + "\n\t}\n\thandle /x {\n\t\tip_ban\n\t}",
		"matcher":            "@banned ip_ban\n\trespond @banned 403\n\t" + strikes,
		"matcher in a route": "route /x/* {\n\t\t@banned ip_ban\n\t\trespond @banned 403\n\t}\n\t" + strikes,
		"negated matcher":    "@fine not ip_ban\n\trespond @fine ok\n\t" + strikes,
		"on another site":    strikes + "\n}\nexample.com:8080 {\n\tip_ban",
		"strikes in between": "handle /a {\n\t\t" + strikes + "\n\t}\n\thandle /b {\n\t\tip_ban\n\t}",
	} {
		config, err := gatehousetest.Adapt(config("", site))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := gatehousetest.Validate(config); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, site := range map[string]string{
		"nothing":           strikes,
		"on another server": strikes + "\n}\n:8081 {\n\tip_ban",
	} {
		config, err := gatehousetest.Adapt(config("", site))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = gatehousetest.Validate(config)
		if err == nil || !strings.Contains(err.Error(), `the policy "test" bans clients, and no site of the server "srv0"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStrikeOnInJSONIsChecked(t *testing.T) {
	for handler, want := range map[string]string{
		`{"handler":"ip_ban","strike_on":[{"after":3,"in":"1m","for":"1h"}]}`:                                 "statuses: expected at least one",
		`{"handler":"ip_ban","strike_on":[{"statuses":[7],"after":3,"in":"1m","for":"1h"}]}`:                  "statuses: expected 100 to 599, or 1 to 5 for a class, found 7",
		`{"handler":"ip_ban","strike_on":[{"statuses":[404],"in":"1m","for":"1h"}]}`:                          "after: expected a whole number from 1 to 10000, found 0",
		`{"handler":"ip_ban","strike_on":[{"statuses":[404],"after":3,"for":"1h"}]}`:                          "after ... in: expected a duration above zero",
		`{"handler":"ip_ban","strike_on":[{"statuses":[404],"after":3,"in":"1m"}]}`:                           "for: expected a duration",
		`{"handler":"ip_ban","strike_on":[{"statuses":[404],"after":3,"in":"1m","for":"1h","escalate":0.5}]}`: "escalate: expected a factor from 1 to 1000, found 0.5",
		`{"handler":"ip_ban","strike_on":[{"statuses":[404],"after":3,"in":"1m","for":"1h","x":1}]}`:          `unknown field "x"`,
	} {
		config := fmt.Sprintf(`{"admin":{"disabled":true},"apps":{"http":{"servers":{"srv0":{"listen":["127.0.0.1:0"],"routes":[{"handle":[%s]}]}}}}}`, handler)
		if err := gatehousetest.Validate([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", handler, err, want)
		}
	}
}

func TestStrikesAreLogged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	s := gatehousetest.Start(t, config("log {\n\t\toutput file "+file+"\n\t}", strikeOn404))
	for range 3 {
		as(t, s, someone, "/missing")
	}
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), `"msg":"a rule banned a client","client_ip":"203.0.113.7","prefix":"203.0.113.7/32","policy":"strike_on 404"`); n != 1 {
		t.Errorf("%d lines in the log, want one: %s", n, log)
	}
}

// An answer that is written in parts, or flushed, or an interim one, is what it would be without strikes.
func TestStrikeOnLeavesAnswersAlone(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("first "))
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flushing: %v", err)
		}
		_, _ = w.Write([]byte("second"))
	})
	upstream := httptest.NewServer(origin)
	t.Cleanup(upstream.Close)
	s := gatehousetest.Start(t, config("", "ip_ban {\n\t\tstrike_on 4xx after 2 in 1m for 1h\n\t}\n\treverse_proxy "+strings.TrimPrefix(upstream.URL, "http://")))
	for i, want := range []int{404, 404, 403} {
		resp := as(t, s, someone, "/")
		if resp.StatusCode != want || want == 404 && resp.Body != "first second" {
			t.Errorf("request %d: %s %q", i+1, resp.Status, resp.Body)
		}
	}
}

// Without Redis, too, the second ban is longer than the first when a restart lies between them.
func TestHistoryOutlivesRestarts(t *testing.T) {
	storage := "storage file_system " + t.TempDir()
	site := strings.Replace(strikeOn404, "for 1h", "for 1ms", 1)
	strike := func(t *testing.T, level int) {
		s := gatehousetest.Start(t, config(storage, site))
		for range 3 {
			as(t, s, someone, "/missing")
		}
		resp := admin(t, s, http.MethodGet, "/gatehouse/bans/check?address="+someone, "")
		if want := fmt.Sprintf(`"past_bans":%d`, level); !strings.Contains(resp.Body, want) {
			t.Errorf("got %s, want %s", resp.Body, want)
		}
	}
	t.Run("first process", func(t *testing.T) { strike(t, 1) })
	t.Run("second process", func(t *testing.T) { strike(t, 2) })
	t.Run("a lift", func(t *testing.T) { // of a client whose ban is over
		s := gatehousetest.Start(t, config(storage, site))
		lift(t, s, someone)
		if resp := admin(t, s, http.MethodGet, "/gatehouse/bans/check?address="+someone, ""); strings.Contains(resp.Body, "past_bans") {
			t.Errorf("not forgotten: %s", resp.Body)
		}
	})
}
