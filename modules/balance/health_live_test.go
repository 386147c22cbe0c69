// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/balance"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// patient is an upstream whose health a test sets.
type patient struct {
	address string
	ill     atomic.Bool
	served  atomic.Int64
	checked atomic.Int64
	hold    chan struct{} // closed when requests for /hold may end
	release func()
}

func startPatients(t *testing.T, n int) []*patient {
	t.Helper()
	all := make([]*patient, n)
	for i := range all {
		p := &patient{hold: make(chan struct{})}
		p.address = serve(t, p)
		p.release = sync.OnceFunc(func() { close(p.hold) })
		t.Cleanup(p.release)
		all[i] = p
	}
	return all
}

// ServeHTTP implements http.Handler.
func (p *patient) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz":
		p.checked.Add(1)
		if p.ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	case "/hold":
		<-p.hold
	}
	p.served.Add(1)
	_, _ = w.Write([]byte(p.address))
}

func patientsOf(all []*patient) string {
	var names []string
	for _, p := range all {
		names = append(names, p.address)
	}
	return strings.Join(names, " ")
}

// quick is a check that finds out soon.
const quick = "health /healthz {\ninterval 5ms\ntimeout 2s\nfails 2\npasses 2\n%s\n}\n"

// checkedPolicies are our policies with active checks, and the guard around one of Caddy's.
func checkedPolicies(options string) map[string]string {
	health := fmt.Sprintf(quick, options)
	return map[string]string{
		"consistent_hash":         "lb_policy consistent_hash query k {\n" + health + "}",
		"consistent_hash, no key": "lb_policy consistent_hash header X-None {\n" + health + "}",
		"least_response_time":     "lb_policy least_response_time {\n" + health + "}",
		"least_bandwidth":         "lb_policy least_bandwidth {\n" + health + "}",
		"guard":                   "lb_policy guard {\npolicy query k\n" + health + "}",
	}
}

// healthOf returns the verdict on an upstream that is checked once.
func healthOf(t *testing.T, s *gatehousetest.Server, address string) balance.HealthStatus {
	t.Helper()
	u := status(t, s, address)
	if len(u.Health) != 1 {
		t.Fatalf("%s has %d checks, want 1", address, len(u.Health))
	}
	return u.Health[0]
}

func becomes(t *testing.T, s *gatehousetest.Server, address, verdict string) {
	t.Helper()
	gatehousetest.Eventually(t, address+" being "+verdict, func() bool { return healthOf(t, s, address).Verdict == verdict })
}

func TestHealthVerdictsCount(t *testing.T) {
	for name, policy := range checkedPolicies("") {
		t.Run(name, func(t *testing.T) {
			patients := startPatients(t, 3)
			s := gatehousetest.Start(t, site(patientsOf(patients), policy))
			ill := patients[1]
			ill.ill.Store(true)
			becomes(t, s, ill.address, "down")
			before := ill.served.Load()
			for i := range 100 {
				if answer := s.Get(fmt.Sprint("/?k=", i)); answer.StatusCode != http.StatusOK {
					t.Fatalf("%d %s", answer.StatusCode, answer.Body)
				}
			}
			if n := ill.served.Load() - before; n != 0 {
				t.Errorf("an upstream that is down got %d requests", n)
			}
			for _, p := range patients {
				p.ill.Store(true)
			}
			for _, p := range patients {
				becomes(t, s, p.address, "down")
			}
			for i := range 100 { // all are down: better one of these than none
				if answer := s.Get(fmt.Sprint("/?k=", i)); answer.StatusCode != http.StatusOK {
					t.Fatalf("with all down: %d %s", answer.StatusCode, answer.Body)
				}
			}
			for _, p := range patients {
				p.ill.Store(false)
			}
			for _, p := range patients {
				becomes(t, s, p.address, "up")
			}
			if u := status(t, s, ill.address); u.Requests != uint64(ill.served.Load()) || u.Failures != 0 || u.Health[0].Flips != 2 {
				t.Errorf("checks were counted as requests, or flips are wrong: %+v; %d served", u, ill.served.Load())
			}
			gatehousetest.Eventually(t, "requests for the upstream that is back", func() bool {
				for i := range 20 {
					s.Get(fmt.Sprint("/?k=", i))
				}
				return ill.served.Load() > before+30
			})
		})
	}
}

func TestHealthFailClosed(t *testing.T) {
	for name, policy := range checkedPolicies("fail_closed") {
		t.Run(name, func(t *testing.T) {
			patients := startPatients(t, 2)
			s := gatehousetest.Start(t, site(patientsOf(patients), policy))
			for _, p := range patients {
				p.ill.Store(true)
			}
			for _, p := range patients {
				becomes(t, s, p.address, "down")
			}
			for i := range 20 {
				if answer := s.Get(fmt.Sprint("/?k=", i)); answer.StatusCode != http.StatusServiceUnavailable {
					t.Fatalf("%d %s, want the proxy's refusal", answer.StatusCode, answer.Body)
				}
			}
		})
	}
}

// Verdicts outlive reloads, also rejected ones, and so do the counts of checks in a row.
func TestHealthOverReloads(t *testing.T) {
	patients := startPatients(t, 2)
	policy := "lb_policy consistent_hash query k {\nhealth /healthz {\ninterval 5ms\nfails 3\npasses 1000\n}\n}"
	caddyfile := site(patientsOf(patients), policy)
	s := gatehousetest.Start(t, caddyfile)
	ill := patients[0]
	ill.ill.Store(true)
	becomes(t, s, ill.address, "down")
	ill.ill.Store(false)
	gatehousetest.Eventually(t, "20 passes", func() bool { return healthOf(t, s, ill.address).PassedInARow >= 20 })
	since := healthOf(t, s, ill.address).Since
	stillDown := func(when string, passes int) int {
		t.Helper()
		h := healthOf(t, s, ill.address)
		if h.Verdict != "down" || !h.Since.Equal(since) || h.PassedInARow < passes {
			t.Fatalf("%s: %+v", when, h)
		}
		for i := range 50 {
			if s.Get(fmt.Sprint("/?k=", i)).Body == ill.address {
				t.Fatalf("%s: an upstream that is down got a request", when)
			}
		}
		return h.PassedInARow
	}
	n := stillDown("before", 20)
	if err := s.Reload(strings.Replace(caddyfile, "query k {", "query k {\nweight nosuch:1 2\n", 1)); err == nil {
		t.Fatal("a broken config was accepted")
	}
	n = stillDown("after a rejected reload", n)
	if err := s.Reload(caddyfile); err != nil {
		t.Fatal(err)
	}
	n = stillDown("after a reload", n)
	gatehousetest.Eventually(t, "more checks", func() bool { return stillDown("later", n) > n })
	if err := s.Reload(site(patientsOf(patients), "lb_policy consistent_hash query k")); err != nil {
		t.Fatal(err)
	}
	if u := status(t, s, ill.address); len(u.Health) != 0 {
		t.Errorf("nobody checks any more, but %+v", u.Health)
	}
	if got := s.Get("/?k=1").StatusCode; got != http.StatusOK {
		t.Errorf("got %d", got)
	}
	checks := ill.checked.Load()
	s.Get("/")
	if ill.checked.Load() != checks {
		t.Error("checks go on")
	}
}

func TestHealthOfDynamicUpstreams(t *testing.T) {
	patients := startPatients(t, 3)
	var sources strings.Builder
	for _, p := range patients {
		_, port, _ := net.SplitHostPort(p.address)
		fmt.Fprintf(&sources, "a 127.0.0.1 %s\n", port)
	}
	for name, policy := range checkedPolicies("") {
		t.Run(name, func(t *testing.T) {
			caddyfile := site("", "dynamic multi {\n"+sources.String()+"}\n"+policy)
			s := gatehousetest.Start(t, caddyfile)
			ill := patients[2]
			ill.ill.Store(true)
			defer ill.ill.Store(false)
			s.Get("/")
			becomes(t, s, ill.address, "down")
			before := ill.served.Load()
			if err := s.Reload(caddyfile); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				s.Get(fmt.Sprint("/?k=", i))
			}
			if n := ill.served.Load() - before; n != 0 {
				t.Errorf("an upstream that is down got %d requests", n)
			}
			metrics := s.Admin(http.MethodGet, "/metrics", "").Body
			if !strings.Contains(metrics, `gatehouse_upstream_healthy{upstream="dynamic"} 2`) {
				t.Error("no metric of the dynamic upstreams' health")
			}
		})
	}
}

// An address that does not resolve marks that upstream only.
func TestHealthDoesNotResolve(t *testing.T) {
	patients := startPatients(t, 2)
	const nowhere = "does-not-resolve.invalid:80"
	s := gatehousetest.Start(t, site(patientsOf(patients)+" "+nowhere, checkedPolicies("")["consistent_hash"]))
	becomes(t, s, nowhere, "down")
	if h := healthOf(t, s, nowhere); h.Problem == "" {
		t.Errorf("%+v", h)
	}
	for i := range 50 {
		if answer := s.Get(fmt.Sprint("/?k=", i)); answer.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", answer.StatusCode, answer.Body)
		}
	}
	for _, p := range patients {
		if h := healthOf(t, s, p.address); h.Verdict != "up" || h.Problem != "" {
			t.Errorf("%s: %+v", p.address, h)
		}
	}
}

// The handler's limit of connections, all taken by requests, does not hold up checks.
func TestHealthDoesNotWaitForRequests(t *testing.T) {
	patients := startPatients(t, 1)
	p := patients[0]
	s := gatehousetest.Start(t, site(p.address, checkedPolicies("")["consistent_hash"]+"\ntransport http {\nmax_conns_per_host 1\n}"))
	done := make(chan error, 1)
	go func() {
		_, err := s.Try(http.MethodGet, s.URL(":8080")+"/hold", "")
		done <- err
	}()
	gatehousetest.Eventually(t, "the request that holds the connection", func() bool { return status(t, s, p.address).InFlight == 1 })
	n := p.checked.Load()
	gatehousetest.Eventually(t, "checks beside it", func() bool { return p.checked.Load() > n+20 })
	if h := healthOf(t, s, p.address); h.Verdict != "up" || h.Problem != "" {
		t.Errorf("%+v", h)
	}
	p.release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHealthIsSeen(t *testing.T) {
	patients := startPatients(t, 2)
	s := gatehousetest.Start(t, site(patientsOf(patients), checkedPolicies("")["consistent_hash"]))
	patients[1].ill.Store(true)
	becomes(t, s, patients[1].address, "down")
	metrics := s.Admin(http.MethodGet, "/metrics", "").Body
	for _, want := range []string{
		fmt.Sprintf("gatehouse_upstream_healthy{upstream=%q} 1\n", patients[0].address),
		fmt.Sprintf("gatehouse_upstream_healthy{upstream=%q} 0\n", patients[1].address),
		fmt.Sprintf("gatehouse_upstream_health_checks_total{result=\"passed\",upstream=%q} ", patients[0].address),
		fmt.Sprintf("gatehouse_upstream_health_flips_total{upstream=%q} 1\n", patients[1].address),
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	h := healthOf(t, s, patients[1].address)
	if h.Check != "GET /healthz" || h.Problem != "status 503" || h.FailedInARow < 2 || h.Checked.IsZero() || h.Since.IsZero() {
		t.Errorf("%+v", h)
	}
}

// A hundred reloads leave no goroutine behind, nor a check.
func TestHealthDoesNotLeak(t *testing.T) {
	patients := startPatients(t, 4)
	policies := []string{checkedPolicies("")["consistent_hash"], checkedPolicies("")["guard"], "lb_policy consistent_hash"}
	t.Run("reloads", func(t *testing.T) {
		gatehousetest.NoLeaks(t)
		s := gatehousetest.Start(t, site(patientsOf(patients), policies[0]))
		for i := range 100 {
			caddyfile := site(patientsOf(patients), policies[i%len(policies)])
			if i%10 == 9 {
				caddyfile = strings.Replace(caddyfile, "lb_policy", "lb_retry_match {\nexpression `nonsense(`\n}\nlb_policy", 1)
			}
			if err := s.Reload(caddyfile); (err == nil) != (i%10 != 9) {
				t.Fatalf("reload %d: %v", i, err)
			}
		}
		if err := s.Reload(site(patientsOf(patients), policies[2])); err != nil {
			t.Fatal(err)
		}
		var all []balance.Status
		if err := json.Unmarshal([]byte(s.Admin(http.MethodGet, "/gatehouse/upstreams", "").Body), &all); err != nil {
			t.Fatal(err)
		}
		for _, u := range all {
			if len(u.Health) != 0 {
				t.Errorf("%s is still checked: %+v", u.Address, u.Health)
			}
		}
	})
}
