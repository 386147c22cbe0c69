// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ready_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ready"
)

const site = ":8080 {\n ready\n respond app\n}"

func expect(t *testing.T, s *gatehousetest.Server, status int, body string) {
	t.Helper()
	if got := s.Get("/ready"); got.StatusCode != status || got.Body != body || got.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("/ready answers %d %q %v, want %d %q", got.StatusCode, got.Body, got.Header, status, body)
	}
}

// state asks for the admin API's view.
func state(t *testing.T, s *gatehousetest.Server, method, path string) ready.State {
	t.Helper()
	resp := s.Admin(method, path, "")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s answers %d %s", method, path, resp.StatusCode, resp.Body)
	}
	var got ready.State
	if err := json.Unmarshal([]byte(resp.Body), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestDrain(t *testing.T) {
	s := gatehousetest.Start(t, site)
	expect(t, s, 200, "ready\n")
	if got := state(t, s, "GET", "/gatehouse/ready"); got != (ready.State{Ready: true}) {
		t.Fatalf("before: %+v", got)
	}

	if got := state(t, s, "POST", "/gatehouse/drain"); got != (ready.State{Drain: true}) {
		t.Fatalf("drained: %+v", got)
	}
	expect(t, s, 503, "draining\n")
	if got := s.Get("/"); got.StatusCode != 200 || got.Body != "app" {
		t.Fatalf("a draining proxy must go on serving: %d %q", got.StatusCode, got.Body)
	}

	for _, config := range []string{site, ":8080 {\n ready\n respond changed\n}", ":8080 {\n ready /ready\n reverse_proxy {\n lb_policy weighted_round_robin 0\n}\n}"} {
		rejected := s.Reload(config) != nil
		if rejected != strings.Contains(config, "weighted") {
			t.Fatalf("%q: rejected %v", config, rejected)
		}
		expect(t, s, 503, "draining\n") // the drain outlives reloads, also a rejected one
	}

	if got := state(t, s, "DELETE", "/gatehouse/drain"); got != (ready.State{Ready: true}) {
		t.Fatalf("after: %+v", got)
	}
	expect(t, s, 200, "ready\n")
}

func TestMatcherAndMethods(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n ready /healthz\n respond app\n}")
	if got := s.Get("/healthz").Body; got != "ready\n" {
		t.Errorf("/healthz answers %q", got)
	}
	if got := s.Get("/ready").Body; got != "app" {
		t.Errorf("/ready answers %q", got)
	}
	if got := s.Do(http.MethodPost, s.URL(":8080")+"/healthz", "x"); got.StatusCode != 405 || got.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST gives %d %v", got.StatusCode, got.Header)
	}
	if got := s.Do(http.MethodHead, s.URL(":8080")+"/healthz", ""); got.StatusCode != 200 || got.Body != "" {
		t.Errorf("HEAD gives %d %q", got.StatusCode, got.Body)
	}
}

func TestAdminSaysWhatIsWrong(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n respond app\n}")
	for _, path := range []string{"/gatehouse/ready", "/gatehouse/drain"} {
		if got := s.Admin(http.MethodPatch, path, ""); got.StatusCode != 405 || got.Header.Get("Allow") == "" {
			t.Errorf("PATCH %s gives %d %s", path, got.StatusCode, got.Body)
		}
	}
	if got := s.Admin(http.MethodPost, "/gatehouse/drain", ""); got.StatusCode != 409 || !strings.Contains(got.Body, "`ready` directive") {
		t.Errorf("a drain that nobody would notice gives %d %s", got.StatusCode, got.Body)
	}
}

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }
