// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/balance"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// backend is an upstream that answers with its own address.
type backend struct {
	address string
	served  atomic.Int64
	health  atomic.Int64 // requests for /health
	release chan struct{}
}

// startBackends starts n upstreams.
func startBackends(t *testing.T, n int) []*backend {
	t.Helper()
	all := make([]*backend, n)
	for i := range all {
		b := &backend{release: make(chan struct{})}
		b.address = serve(t, b)
		all[i] = b
	}
	return all
}

// ServeHTTP implements http.Handler.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health":
		b.health.Add(1)
		return
	case "/stream": // begins, and ends when it is released
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-b.release
	}
	b.served.Add(1)
	_, _ = w.Write([]byte(b.address))
}

// deadAddress returns a loopback address that refuses connections: its port is bound for as long as the test runs, but
// nobody listens there.
func deadAddress(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

func addresses(backends []*backend) string {
	var all []string
	for _, b := range backends {
		all = append(all, b.address)
	}
	return strings.Join(all, " ")
}

// site is a Caddyfile with one reverse_proxy.
func site(upstreams, options string) string {
	return fmt.Sprintf(":8080 {\n\treverse_proxy %s {\n%s\n\t}\n}\n", upstreams, options)
}

// status asks the admin endpoint for one upstream.
func status(t *testing.T, s *gatehousetest.Server, address string) balance.Status {
	t.Helper()
	answer := s.Admin(http.MethodGet, "/gatehouse/upstreams", "")
	var all []balance.Status
	if err := json.Unmarshal([]byte(answer.Body), &all); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%d %s: %v", answer.StatusCode, answer.Body, err)
	}
	for _, u := range all {
		if u.Address == address {
			return u
		}
	}
	t.Fatalf("%s is not among %+v", address, all)
	return balance.Status{}
}

// patience is how long an exchange may take. It bounds only how long a failing test waits, on however slow a
// machine.
const patience = time.Minute

func TestSameKeySameUpstream(t *testing.T) {
	backends := startBackends(t, 5)
	s := gatehousetest.Start(t, site(addresses(backends), "lb_policy consistent_hash header X-Tenant"))
	seen := map[string]bool{}
	for i := range 50 {
		tenant := fmt.Sprintf("X-Tenant: %d", i)
		first := s.Get("/", tenant).Body
		seen[first] = true
		for range 3 {
			if again := s.Get("/other", tenant).Body; again != first {
				t.Fatalf("tenant %d went to %s, then to %s", i, first, again)
			}
		}
	}
	if len(seen) != 5 {
		t.Errorf("50 tenants went to %d of 5 upstreams", len(seen))
	}
	withoutKey := map[string]bool{}
	for range 100 {
		withoutKey[s.Get("/").Body] = true
	}
	if len(withoutKey) != 5 {
		t.Errorf("100 requests without a key went to %d of 5 upstreams", len(withoutKey))
	}
}

// One of five upstreams is dead: with one retry, no request may fail, and a dead upstream's keys stay together.
func TestDeadUpstream(t *testing.T) {
	backends := startBackends(t, 4)
	dead := deadAddress(t)
	for _, key := range []string{"header X-Key", "query k", "{header.X-Key}"} {
		t.Run(key, func(t *testing.T) {
			s := gatehousetest.Start(t, site(addresses(backends)+" "+dead, "lb_policy consistent_hash "+key+"\nlb_retries 1"))
			first := map[string]string{}
			for i := range 2000 {
				k := fmt.Sprint(i % 200)
				answer := s.Get("/?k="+k, "X-Key: "+k)
				if answer.StatusCode != http.StatusOK {
					t.Fatalf("request %d: %d %s", i, answer.StatusCode, answer.Body)
				}
				if first[k] == "" {
					first[k] = answer.Body
				} else if first[k] != answer.Body {
					t.Fatalf("key %s went to %s, then to %s", k, first[k], answer.Body)
				}
			}
			if u := status(t, s, dead); u.Failures == 0 || u.InFlight != 0 {
				t.Errorf("the dead upstream: %+v", u)
			}
		})
	}
}

// The fallback policy knows nothing of retries: least_conn would choose the dead upstream, which never has any requests,
// again and again.
func TestDeadUpstreamWithoutKey(t *testing.T) {
	backends := startBackends(t, 4)
	s := gatehousetest.Start(t, site(addresses(backends)+" "+deadAddress(t), "lb_policy consistent_hash header X-Key\nlb_retries 1"))
	for i := range 500 {
		if answer := s.Get("/"); answer.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %d", i, answer.StatusCode)
		}
	}
}

// A response that lb_retry_match has retried counts as a failure of this request, whatever its status.
func TestRetriedResponses(t *testing.T) {
	backends := startBackends(t, 2)
	busy := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	s := gatehousetest.Start(t, site(addresses(backends)+" "+busy,
		"lb_policy consistent_hash query k\nlb_retries 1\nlb_retry_match {\nexpression `{rp.status_code} == 429`\n}"))
	for i := range 300 {
		if answer := s.Get(fmt.Sprint("/?k=", i)); answer.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %d", i, answer.StatusCode)
		}
	}
}

func TestUnavailableUpstream(t *testing.T) {
	backends := startBackends(t, 3)
	s := gatehousetest.Start(t, site(addresses(backends), "lb_policy consistent_hash query k\nunhealthy_request_count 1"))
	first := s.Get("/?k=1").Body
	done := make(chan gatehousetest.Response, 1)
	go func() {
		answer, _ := s.Try(http.MethodGet, s.URL(":8080")+"/stream?k=1", "")
		done <- answer
	}()
	gatehousetest.Eventually(t, "the stream", func() bool { return status(t, s, first).InFlight == 1 })
	second := s.Get("/?k=1").Body // the first choice is full
	if second == first {
		t.Errorf("a full upstream got another request")
	}
	for _, b := range backends {
		close(b.release)
	}
	if answer := <-done; answer.Body != first {
		t.Errorf("the stream ended with %q", answer.Body)
	}
	if again := s.Get("/?k=1").Body; again != first {
		t.Errorf("the key did not come back: %s, was %s", again, first)
	}
}

func TestActiveHealthChecksDoNotCount(t *testing.T) {
	backends := startBackends(t, 2)
	s := gatehousetest.Start(t, site(addresses(backends), "lb_policy consistent_hash\nhealth_uri /health\nhealth_interval 10ms"))
	gatehousetest.Eventually(t, "health checks", func() bool { return backends[0].health.Load() > 5 && backends[1].health.Load() > 5 })
	counted := func() uint64 { // with what an earlier test may have sent to the same ports
		return status(t, s, backends[0].address).Requests + status(t, s, backends[1].address).Requests
	}
	before, checks := counted(), backends[0].health.Load()
	s.Get("/")
	gatehousetest.Eventually(t, "more health checks", func() bool { return backends[0].health.Load() > checks+5 })
	if total := counted() - before; total != 1 {
		t.Errorf("%d requests were counted, want 1", total)
	}
}

func TestDynamicUpstreams(t *testing.T) {
	backends := startBackends(t, 3)
	var sources strings.Builder
	for _, b := range backends {
		_, port, _ := net.SplitHostPort(b.address)
		fmt.Fprintf(&sources, "a 127.0.0.1 %s\n", port)
	}
	s := gatehousetest.Start(t, site("", "dynamic multi {\n"+sources.String()+"}\nlb_policy consistent_hash query k {\nweight "+backends[0].address+" 50\n}"))
	counts := map[string]int{}
	for i := range 300 {
		counts[s.Get(fmt.Sprint("/?k=", i)).Body]++
	}
	if len(counts) != 3 || counts[backends[0].address] < 270 {
		t.Errorf("got %v, want nearly all at %s, which weighs 50", counts, backends[0].address)
	}
	u := status(t, s, backends[0].address)
	if !u.Dynamic || u.Requests != uint64(counts[u.Address]) || u.InFlight != 0 || len(u.Policies) != 0 {
		t.Errorf("status %+v", u)
	}
	if answer := s.Admin(http.MethodPost, "/gatehouse/upstreams/drain", `{"upstream":"`+u.Address+`"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("draining: %d %s", answer.StatusCode, answer.Body)
	}
	for i := range 100 {
		if got := s.Get(fmt.Sprint("/?k=", i)).Body; got == u.Address {
			t.Fatal("a drained upstream got a request")
		}
	}
	metrics := s.Admin(http.MethodGet, "/metrics", "").Body
	if strings.Contains(metrics, u.Address) && strings.Contains(metrics, `gatehouse_upstream_requests_total{class="2xx",upstream="`+u.Address) {
		t.Error("a dynamic address became a label")
	}
	if !strings.Contains(metrics, `gatehouse_upstream_requests_total{class="2xx",upstream="dynamic"}`) {
		t.Errorf("no metric for dynamic upstreams in\n%s", metrics)
	}
}
