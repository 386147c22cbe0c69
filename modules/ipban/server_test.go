// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// config is a Caddyfile whose clients are what X-Forwarded-For says, as all of a test's requests come from one machine.
func config(global, site string) string {
	return fmt.Sprintf("{\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1\n\t\ttrusted_proxies_strict\n\t}\n\tmetrics\n\t%s\n}\n:8080 {\n\t%s\n}\n",
		global, site)
}

const (
	plain    = "ip_ban\n\trespond ok"
	someone  = "203.0.113.7"
	neighbor = "203.0.113.8"
)

// as requests a path as a client.
func as(t *testing.T, s *gatehousetest.Server, client, path string) gatehousetest.Response {
	t.Helper()
	return ask(t, s, http.MethodGet, s.URL(":8080")+path, "", "X-Forwarded-For: "+client)
}

// ban bans through the admin endpoint.
func ban(t *testing.T, s *gatehousetest.Server, prefixes ...string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"prefixes": prefixes, "for": "1h", "reason": "abuse"})
	if err != nil {
		t.Fatal(err)
	}
	if resp := admin(t, s, http.MethodPost, "/gatehouse/bans", string(body)); resp.StatusCode != http.StatusOK {
		t.Fatalf("banning %v: %s %s", prefixes, resp.Status, resp.Body)
	}
}

// lift lifts a ban through the admin endpoint.
func lift(t *testing.T, s *gatehousetest.Server, prefix string) {
	t.Helper()
	if resp := admin(t, s, http.MethodDelete, "/gatehouse/bans?prefix="+prefix, ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("lifting the ban of %s: %s %s", prefix, resp.Status, resp.Body)
	}
}

// admin asks the admin endpoint.
func admin(t *testing.T, s *gatehousetest.Server, method, path, body string) gatehousetest.Response {
	t.Helper()
	return ask(t, s, method, "http://"+s.AdminAddress()+path, body)
}

// ask sends a request, again if the connection fails: a reload replaces listeners, and the old ones drop connections that
// they had not come to.
func ask(t *testing.T, s *gatehousetest.Server, method, url, body string, headers ...string) gatehousetest.Response {
	t.Helper()
	for tries := 1; ; tries++ {
		resp, err := s.Try(method, url, body, headers...)
		if err == nil {
			return resp
		}
		if tries == 10 {
			t.Fatal(err)
		}
	}
}

// want checks the status that each client gets.
func want(t *testing.T, s *gatehousetest.Server, statuses map[string]int) {
	t.Helper()
	for client, status := range statuses {
		if resp := as(t, s, client, "/"); resp.StatusCode != status {
			t.Errorf("%s got %s, want %d", client, resp.Status, status)
		}
	}
}

func TestBannedClientIsRefused(t *testing.T) {
	gatehousetest.NoLeaks(t)
	s := gatehousetest.Start(t, config("", plain))
	want(t, s, map[string]int{someone: 200, "2001:db8::1": 200})
	ban(t, s, someone, "2001:db8::/32")
	want(t, s, map[string]int{someone: 403, neighbor: 200, "2001:db8::1": 403, "2001:db9::1": 200, "::ffff:" + someone: 403})

	resp := as(t, s, someone, "/")
	if resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get("Connection") != "" {
		t.Errorf("got the headers %v", resp.Header)
	}
	if want := `{"detail":"Requests from your address are not accepted.","status":403,"title":"Forbidden"}`; resp.Body != want {
		t.Errorf("got %s, want %s", resp.Body, want)
	}
	lift(t, s, someone)
	want(t, s, map[string]int{someone: 200})
}

func TestStatusCloseAndMatcherOfTheDirective(t *testing.T) {
	s := gatehousetest.Start(t, config("", "ip_ban /admin/* {\n\t\tstatus 451\n\t\tclose\n\t}\n\trespond ok"))
	ban(t, s, someone)
	if resp := as(t, s, someone, "/"); resp.StatusCode != http.StatusOK {
		t.Errorf("a path that the matcher excludes: %s", resp.Status)
	}
	resp := as(t, s, someone, "/admin/x")
	if resp.StatusCode != http.StatusUnavailableForLegalReasons || !resp.Close {
		t.Errorf("got %s, connection closed %v", resp.Status, resp.Close)
	}
}

// The statuses that say "later" say when.
func TestRetryAfter(t *testing.T) {
	site := "handle /later {\n\t\tip_ban {\n\t\t\tstatus 429\n\t\t}\n\t}\n\thandle {\n\t\tip_ban\n\t}"
	s := gatehousetest.Start(t, config("", site))
	ban(t, s, someone) // for an hour
	if resp := admin(t, s, http.MethodPost, "/gatehouse/bans", `{"prefixes":["`+neighbor+`"]}`); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", resp.Status, resp.Body)
	}
	resp := as(t, s, someone, "/later")
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 3500 || n > 3600 || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a ban of an hour: %s, Retry-After: %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	for name, resp := range map[string]gatehousetest.Response{"for good": as(t, s, neighbor, "/later"), "403": as(t, s, someone, "/")} {
		if got := resp.Header.Values("Retry-After"); len(got) > 0 || resp.StatusCode < 400 {
			t.Errorf("%s: %s, Retry-After: %q", name, resp.Status, got)
		}
	}
}

func TestErrorRoutesAnswer(t *testing.T) {
	s := gatehousetest.Start(t, config("", plain+"\n\thandle_errors 403 {\n\t\trespond \"{err.message}: {http.gatehouse.ip_ban.prefix}, {http.gatehouse.ip_ban.reason}\"\n\t}"))
	ban(t, s, "203.0.113.0/24")
	if resp, want := as(t, s, someone, "/"), "the client's address is banned: 203.0.113.0/24, abuse"; resp.StatusCode != 403 || resp.Body != want {
		t.Errorf("got %s %q, want 403 %q", resp.Status, resp.Body, want)
	}
}

func TestAllowListWins(t *testing.T) {
	s := gatehousetest.Start(t, config("ip_bans {\n\t\tallow 203.0.113.8 2001:db8:1::/48\n\t}", plain))
	ban(t, s, "0.0.0.0/0", "::/0")
	want(t, s, map[string]int{
		someone: 403, neighbor: 200, "2001:db8::1": 403, "2001:db8:1::1": 200,
		"": 200, // the trusted proxy's own request
	})
}

func TestMatcher(t *testing.T) {
	s := gatehousetest.Start(t, config("", "@banned ip_ban\n\trespond @banned \"{http.gatehouse.ip_ban.outcome}\" 418\n\trespond ok"))
	ban(t, s, someone)
	if resp := as(t, s, someone, "/"); resp.StatusCode != http.StatusTeapot || resp.Body != "banned" {
		t.Errorf("got %s %s", resp.Status, resp.Body)
	}
	want(t, s, map[string]int{neighbor: 200})
}

func TestDryRun(t *testing.T) {
	const show = "respond \"{http.gatehouse.ip_ban.outcome}\""
	for name, text := range map[string]string{
		"of the directive": config("", "ip_ban {\n\t\tdry_run\n\t}\n\t"+show),
		"of the app":       config("ip_bans {\n\t\tdry_run\n\t}", "ip_ban\n\t"+show),
		"of the matcher":   config("ip_bans {\n\t\tdry_run\n\t}", "@banned ip_ban\n\trespond @banned 403\n\t"+show),
	} {
		t.Run(name, func(t *testing.T) {
			s := gatehousetest.Start(t, text)
			ban(t, s, someone)
			if resp := as(t, s, someone, "/"); resp.StatusCode != http.StatusOK || resp.Body != "dry_run" {
				t.Errorf("got %s %s", resp.Status, resp.Body)
			}
		})
	}
}

func TestDecisionsAreVisible(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	s := gatehousetest.Start(t, config("log {\n\t\toutput file "+file+"\n\t}\n\tip_bans {\n\t\tallow "+neighbor+"\n\t}",
		"log\n\tip_ban /dry/* {\n\t\tdry_run\n\t}\n\tip_ban /strict/*\n\trespond ok"))
	before := admin(t, s, http.MethodGet, "/metrics", "").Body
	ban(t, s, "203.0.113.0/24")
	for _, path := range []string{"/dry/", "/strict/"} {
		as(t, s, someone, path)
		as(t, s, neighbor, path)
		as(t, s, "198.51.100.1", path)
	}
	after := admin(t, s, http.MethodGet, "/metrics", "").Body
	for series, more := range map[string]float64{
		`gatehouse_ip_ban_requests_total{module="handler",outcome="banned"}`:       1,
		`gatehouse_ip_ban_requests_total{module="handler",outcome="dry_run"}`:      1,
		`gatehouse_ip_ban_requests_total{module="handler",outcome="allow_listed"}`: 2,
		`gatehouse_ip_ban_requests_total{module="handler",outcome="passed"}`:       2,
		`gatehouse_ip_ban_active{store="memory"}`:                                  1,
		`gatehouse_ip_ban_store_up{store="memory"}`:                                0,
	} {
		if got := metric(t, after, series) - metric(t, before, series); got != more {
			t.Errorf("%s grew by %g, want %g", series, got, more)
		}
	}
	if metric(t, after, `gatehouse_ip_ban_store_up{store="memory"}`) != 1 {
		t.Error("the store is said to be down")
	}

	if err := s.Reload(config("", plain)); err != nil { // the old server's access log is written when it has drained
		t.Fatal(err)
	}
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for text, n := range map[string]int{
		`"ip_ban":{"outcome":"banned","prefix":"203.0.113.0/24","reason":"abuse"}`:       1,
		`"ip_ban":{"outcome":"dry_run","prefix":"203.0.113.0/24","reason":"abuse"}`:      1,
		`"ip_ban":{"outcome":"allow_listed","prefix":"203.0.113.0/24","reason":"abuse"}`: 2,
		`a ban covers the client`:                     1, // the dry run, at the default level
		`an operator changed the list of bans`:        1,
		`"msg":"handled request"`:                     6,
		`requests carry X-Forwarded-For`:              0,
		`"ip_ban":{"outcome":"passed"`:                0,
		`this server has trusted_proxies and not`:     0,
		`"reason":"abuse","expires":`:                 1,
		`"client_ip":"203.0.113.7","outcome":"dry_ru`: 1,
	} {
		if got := strings.Count(string(log), text); got != n {
			t.Errorf("the log has %s %d times, want %d", text, got, n)
		}
	}
}

// metric is the value of a series; one that is missing fails the test.
func metric(t *testing.T, text, series string) (value float64) {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no series %s", series)
	return 0
}

// Ten thousand forged addresses of one peer that is no proxy are one address: they get nobody banned, and no ban around.
func TestForgedAddressesAreOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	s := gatehousetest.Start(t, "{\n\tlog {\n\t\toutput file "+file+"\n\t}\n\tmetrics\n}\n:8080 {\n\t"+plain+"\n}")
	ban(t, s, "10.0.0.0/8")
	const requests = 10_000
	before := admin(t, s, http.MethodGet, "/metrics", "").Body
	for i := range requests {
		if resp := as(t, s, fmt.Sprintf("10.1.%d.%d", i>>8, i&255), "/"); resp.StatusCode != http.StatusOK {
			t.Fatalf("request %d: a forged address was believed: %s", i, resp.Status)
		}
	}
	const series = `gatehouse_ip_ban_requests_total{module="handler",outcome="passed"}`
	after := admin(t, s, http.MethodGet, "/metrics", "").Body
	if n := metric(t, after, series) - metric(t, before, series); n != requests {
		t.Errorf("%g requests passed, want %d", n, requests)
	}
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "requests carry X-Forwarded-For and this server has no trusted_proxies"); n != 1 {
		t.Errorf("%d lines in the log, want one", n)
	}
}
