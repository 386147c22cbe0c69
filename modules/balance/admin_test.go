// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// post sends a command about an upstream to the admin endpoint.
func post(t *testing.T, s *gatehousetest.Server, command, body string) gatehousetest.Response {
	t.Helper()
	return s.Admin(http.MethodPost, "/gatehouse/upstreams/"+command, body)
}

func upstreamJSON(address, more string) string {
	return fmt.Sprintf(`{"upstream":%q%s}`, address, more)
}

func TestDrain(t *testing.T) {
	backends := startBackends(t, 3)
	caddyfile := site(addresses(backends), "lb_policy consistent_hash query k")
	s := gatehousetest.Start(t, caddyfile)
	first := s.Get("/?k=1").Body
	stream := make(chan gatehousetest.Response, 1)
	go func() {
		answer, _ := s.Try(http.MethodGet, s.URL(":8080")+"/stream?k=1", "")
		stream <- answer
	}()
	gatehousetest.Eventually(t, "the stream", func() bool { return status(t, s, first).InFlight == 1 })

	answer := post(t, s, "drain", upstreamJSON(first, ""))
	if answer.StatusCode != http.StatusOK || !strings.Contains(answer.Body, `"drained":true`) {
		t.Fatalf("%d %s", answer.StatusCode, answer.Body)
	}
	drained := func(when string) {
		t.Helper()
		second := s.Get("/?k=1").Body
		for i := range 60 {
			if got := s.Get(fmt.Sprint("/?k=", i)).Body; got == first {
				t.Fatalf("%s: a drained upstream got a request", when)
			}
		}
		for range 20 { // without a key
			if got := s.Get("/").Body; got == first {
				t.Fatalf("%s: a drained upstream got a request from the fallback", when)
			}
		}
		if again := s.Get("/?k=1").Body; again != second {
			t.Errorf("%s: the key went to %s, then to %s", when, second, again)
		}
	}
	drained("at once")
	if err := s.Reload(strings.Replace(caddyfile, "query k", "query k {\nweight nosuch:1 2\n}", 1)); err == nil {
		t.Fatal("a weight for an upstream that does not exist was accepted")
	}
	drained("after a rejected reload")
	if err := s.Reload(caddyfile); err != nil {
		t.Fatal(err)
	}
	drained("after a reload")
	if u := status(t, s, first); u.InFlight != 1 || !u.Drained || fmt.Sprint(u.Policies) != "[consistent_hash]" {
		t.Errorf("status %+v, want the stream to go on", u)
	}
	for _, b := range backends {
		close(b.release)
	}
	if got := <-stream; got.StatusCode != http.StatusOK || got.Body != first {
		t.Errorf("the stream ended with %q", got.Body)
	}
	if answer := post(t, s, "undrain", upstreamJSON(first, "")); answer.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", answer.StatusCode, answer.Body)
	}
	if got := s.Get("/?k=1").Body; got != first {
		t.Errorf("after undrain, the key goes to %s, not %s", got, first)
	}
}

func TestAllDrained(t *testing.T) {
	backends := startBackends(t, 2)
	s := gatehousetest.Start(t, site(addresses(backends), "lb_policy consistent_hash query k"))
	for _, b := range backends {
		post(t, s, "drain", upstreamJSON(b.address, ""))
	}
	for _, path := range []string{"/?k=1", "/"} {
		if answer := s.Get(path); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", path, answer.StatusCode, answer.Body)
		}
	}
}

func TestWeight(t *testing.T) {
	backends := startBackends(t, 4)
	heavy := backends[2].address
	caddyfile := site(addresses(backends), "lb_policy consistent_hash query k {\nweight "+heavy+" 2\n}")
	s := gatehousetest.Start(t, caddyfile)
	share := func() (n int) {
		for i := range 500 {
			if s.Get(fmt.Sprint("/?k=", i)).Body == heavy {
				n++
			}
		}
		return n
	}
	if u, n := status(t, s, heavy), share(); u.Weight != 2 || u.WeightOverridden || n < 150 || n > 250 {
		t.Errorf("2 of 5: got %d of 500 keys, status %+v", n, u)
	}
	if answer := post(t, s, "weight", upstreamJSON(heavy, `,"weight":97`)); answer.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", answer.StatusCode, answer.Body)
	}
	if err := s.Reload(caddyfile); err != nil {
		t.Fatal(err)
	}
	if u, n := status(t, s, heavy), share(); u.Weight != 97 || !u.WeightOverridden || n < 470 {
		t.Errorf("97 of 100: got %d of 500 keys, status %+v", n, u)
	}
	if answer := post(t, s, "weight", upstreamJSON(heavy, `,"reset":true`)); !strings.Contains(answer.Body, `"weight":2,"weight_overridden":false`) {
		t.Errorf("%d %s", answer.StatusCode, answer.Body)
	}
}

func TestAdminErrors(t *testing.T) {
	backends := startBackends(t, 2)
	s := gatehousetest.Start(t, site(addresses(backends), "lb_policy consistent_hash"))
	known := backends[0].address
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/drain", upstreamJSON("app9:1", ""), 404, known},
		{"POST", "/undrain", upstreamJSON("app9:1", ""), 404, `no upstream \"app9:1\"; known are: `},
		{"POST", "/weight", upstreamJSON("app9:1", `,"weight":2`), 404, known},
		{"POST", "/weight", upstreamJSON(known, ""), 400, "weight: expected a number from 0.001 to 1000, found 0"},
		{"POST", "/weight", upstreamJSON(known, `,"weight":-1`), 400, "found -1"},
		{"POST", "/weight", upstreamJSON(known, `,"weight":2,"reset":true`), 400, "reset excludes weight"},
		{"POST", "/weight", upstreamJSON(known, `,"weight":"2"`), 400, "reading the body"},
		{"POST", "/drain", upstreamJSON(known, `,"weight":2`), 400, "weight and reset belong to /gatehouse/upstreams/weight"},
		{"POST", "/drain", upstreamJSON(known, `,"wait":true`), 400, `unknown field \"wait\"`},
		{"POST", "/drain", upstreamJSON(known, "") + "{}", 400, "something follows the JSON value"},
		{"POST", "/drain", `{}`, 400, "upstream is missing"},
		{"POST", "/drain", ``, 400, "reading the body"},
		{"POST", "/drain", upstreamJSON(strings.Repeat("x", 1<<17), ""), 413, "longer than 65536 bytes"},
		{"GET", "/drain", "", 405, "allowed: POST"},
		{"POST", "", "", 405, "allowed: GET"},
		{"POST", "/nosuch", "{}", 404, ""},
	} {
		answer := s.Admin(c.method, "/gatehouse/upstreams"+c.path, c.body)
		if answer.StatusCode != c.status || !strings.Contains(answer.Body, c.want) {
			t.Errorf("%s %s %.80s: got %d %s, want %d %s", c.method, c.path, c.body, answer.StatusCode, answer.Body, c.status, c.want)
		}
	}
	if u := status(t, s, known); u.Drained || u.WeightOverridden {
		t.Errorf("a rejected command changed something: %+v", u)
	}
}

func TestMetrics(t *testing.T) {
	backends := startBackends(t, 1)
	caddyfile := site(addresses(backends), "lb_policy consistent_hash")
	s := gatehousetest.Start(t, caddyfile)
	s.Get("/")
	if err := s.Reload(caddyfile); err != nil {
		t.Fatal(err)
	}
	s.Get("/")
	metrics := s.Admin(http.MethodGet, "/metrics", "").Body
	label := fmt.Sprintf("upstream=%q", backends[0].address)
	for _, want := range []string{
		`gatehouse_upstream_requests_total{class="2xx",` + label + "} 2\n",
		"gatehouse_upstream_failures_total{" + label + "} 0\n",
		"gatehouse_upstream_in_flight{" + label + "} 0\n",
		"gatehouse_upstream_latency_seconds_count{" + label + "} 2\n",
		"gatehouse_upstream_latency_seconds_bucket{" + label + `,le="+Inf"} 2`,
		fmt.Sprintf("gatehouse_upstream_received_bytes_total{%s} %d\n", label, 2*len(backends[0].address)),
		"gatehouse_upstream_remembered ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(metrics) {
			if strings.Contains(line, "gatehouse_upstream") && strings.Contains(line, label) {
				t.Log(line)
			}
		}
	}
}
