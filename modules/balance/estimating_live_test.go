// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/balance"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// flaky is an upstream that fails, hangs or answers, as it is told. It remembers the requests.
type flaky struct {
	address string
	failing atomic.Bool
	hanging atomic.Bool

	mu   sync.Mutex // guards seen
	seen []*http.Request
}

func startFlaky(t *testing.T) *flaky {
	t.Helper()
	f := new(flaky)
	f.address = serve(t, f)
	return f
}

// ServeHTTP implements http.Handler.
func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r)
	f.mu.Unlock()
	switch {
	case f.hanging.Load():
		<-r.Context().Done()
	case f.failing.Load():
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = io.WriteString(w, f.address)
}

func (f *flaky) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*http.Request(nil), f.seen...)
}

// preferred is a policy that sends everything to one upstream for as long as it can.
func preferred(address, more string) string {
	return "lb_policy least_response_time {\nweight " + address + " 1000\n" + more + "\n}\n"
}

// quickProbes make recoveries short.
const quickProbes = "probe {\nfirst 100ms\nlongest 200ms\nsuccesses 2\n}"

// eject sends GETs until the upstream is ejected.
func eject(t *testing.T, s *gatehousetest.Server, f *flaky) balance.EstimateStatus {
	t.Helper()
	f.failing.Store(true)
	for range 50 {
		s.Get("/")
		if u := status(t, s, f.address); u.Estimates[0].Ejected {
			return u.Estimates[0]
		}
	}
	t.Fatalf("not ejected: %+v", status(t, s, f.address))
	return balance.EstimateStatus{}
}

func TestCopiesFindOutWhoIsBack(t *testing.T) {
	sick, well := startFlaky(t), startFlaky(t)
	s := gatehousetest.Start(t, site(sick.address+" "+well.address, preferred(sick.address, quickProbes)+
		"header_up Host {upstream_hostport}\nheader_up X-Upstream {http.reverse_proxy.upstream.port}"))
	before := eject(t, s, sick)
	if before.Reason != "failed_in_a_row" || before.Failed > 10 || before.Policy != "least_response_time" {
		t.Errorf("ejected as %+v", before)
	}
	metrics := s.Admin(http.MethodGet, "/metrics", "").Body
	label := fmt.Sprintf("{upstream=%q}", sick.address)
	for _, want := range []string{"gatehouse_upstream_ejected" + label + " 1\n", "gatehouse_upstream_ejections_total" + label + " 1\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	clients := 0   // whose own request was the probe
	for range 20 { // nothing of these may be copied
		if answer := s.Do(http.MethodPost, s.URL(":8080")+"/order", "one"); answer.Body == sick.address {
			clients++
		}
	}
	if n := len(sick.requests()) - int(before.Failed); n != clients || clients > 5 {
		t.Fatalf("the ejected upstream saw %d POSTs, and answered %d", n, clients)
	}
	sick.failing.Store(false)
	gatehousetest.Eventually(t, "the recovery", func() bool {
		answer := s.Get("/item?x=1", "X-Client: 7", "Cookie: a=b")
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("a client got %d", answer.StatusCode)
		}
		if answer.Body == sick.address {
			clients++
		}
		return answer.Body == sick.address && !status(t, s, sick.address).Estimates[0].Ejected
	})
	gatehousetest.Eventually(t, "the end of the last copy", func() bool { return status(t, s, sick.address).InFlight == 0 })

	copies := 0
	for _, r := range sick.requests()[before.Failed:] {
		if r.Method != http.MethodGet {
			continue
		}
		if r.Header.Get("X-Client") != "7" || r.Header.Get("Cookie") != "a=b" || r.RequestURI != "/item?x=1" ||
			r.Host != sick.address || !strings.HasSuffix(sick.address, ":"+r.Header.Get("X-Upstream")) || r.Header.Get("X-Forwarded-For") == "" {
			t.Errorf("a copy is %s %s %s, %v", r.Method, r.Host, r.RequestURI, r.Header)
		}
	}
	u := status(t, s, sick.address)
	if copies = len(sick.requests()) - int(u.Requests); copies < 2 || u.Requests != before.Failed+uint64(clients) {
		t.Errorf("%d requests arrived, %d were counted: %d copies, %d clients", len(sick.requests()), u.Requests, copies, clients)
	}
	metrics = s.Admin(http.MethodGet, "/metrics", "").Body
	if want := fmt.Sprintf("gatehouse_upstream_probe_copies_total%s %d\n", label, copies); !strings.Contains(metrics, want) {
		t.Errorf("no %q in the metrics", want)
	}
	if u.Estimates[0].Ramp == 1 {
		t.Errorf("status %+v, want a ramp", u)
	}
}

func TestNoCopies(t *testing.T) {
	sick, well := startFlaky(t), startFlaky(t)
	s := gatehousetest.Start(t, site(sick.address+" "+well.address,
		preferred(sick.address, "probe {\ncopies off\nrequest off\nfirst 100ms\nsuccesses 2\n}")))
	eject(t, s, sick)
	sick.failing.Store(false)
	gatehousetest.Eventually(t, "the recovery", func() bool {
		s.Get("/")
		return !status(t, s, sick.address).Estimates[0].Ejected
	})
	if u := status(t, s, sick.address); len(sick.requests()) != int(u.Requests) {
		t.Errorf("%d requests arrived, %d were a client's", len(sick.requests()), u.Requests)
	}
}

func TestEjectionSurvivesReloads(t *testing.T) {
	sick, well := startFlaky(t), startFlaky(t)
	caddyfile := site(sick.address+" "+well.address, preferred(sick.address, "probe {\nfirst 10m\n}")) // after the test
	s := gatehousetest.Start(t, caddyfile)
	eject(t, s, sick)
	check := func(when string) {
		t.Helper()
		u := status(t, s, sick.address)
		if len(u.Estimates) != 1 || !u.Estimates[0].Ejected || u.Estimates[0].Ejections != 1 {
			t.Fatalf("%s: %+v", when, u.Estimates)
		}
		if answer := s.Do(http.MethodPost, s.URL(":8080")+"/", "x"); answer.Body != well.address {
			t.Errorf("%s: %d from %s", when, answer.StatusCode, answer.Body)
		}
	}
	check("at first")
	if err := s.Reload(strings.Replace(caddyfile, "weight", "zone nosuch:1\nweight", 1)); err == nil {
		t.Fatal("a zone with an unknown upstream was accepted")
	}
	check("after a rejected reload")
	if err := s.Reload(strings.Replace(caddyfile, "weight", "band 1\nweight", 1)); err != nil {
		t.Fatal(err)
	}
	check("after a reload")
	if err := s.Reload(":8080 {\n\trespond ok\n}\n"); err != nil {
		t.Fatal(err)
	}
	u := status(t, s, sick.address)
	if len(u.Estimates) != 0 || len(u.Policies) != 0 {
		t.Errorf("without a policy: %+v", u)
	}
	if err := s.Reload(caddyfile); err != nil {
		t.Fatal(err)
	}
	s.Get("/")
	metrics := s.Admin(http.MethodGet, "/metrics", "").Body
	if want := fmt.Sprintf("gatehouse_upstream_ejections_total{upstream=%q} 1\n", sick.address); !strings.Contains(metrics, want) {
		t.Error("the ejection is no longer counted")
	}
}

// A copy belongs to the config that sent it, and ends with it.
func TestCopiesEndWithTheConfig(t *testing.T) {
	sick, well := startFlaky(t), startFlaky(t)
	s := gatehousetest.Start(t, site(sick.address+" "+well.address, preferred(sick.address, quickProbes)))
	eject(t, s, sick)
	sick.hanging.Store(true)
	gatehousetest.Eventually(t, "a copy that hangs", func() bool {
		if answer := s.Get("/"); answer.Body != well.address {
			t.Fatalf("got %d from %s", answer.StatusCode, answer.Body)
		}
		return status(t, s, sick.address).InFlight == 1
	})
	if err := s.Reload(":8080 {\n\trespond ok\n}\n"); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "the end of the copy", func() bool { return status(t, s, sick.address).InFlight == 0 })
}

func TestEstimatingRetriesGoElsewhere(t *testing.T) {
	for _, policy := range []string{"least_response_time", "least_bandwidth"} {
		t.Run(policy, func(t *testing.T) {
			backends := startBackends(t, 4)
			dead := deadAddress(t)
			s := gatehousetest.Start(t, site(dead+" "+addresses(backends), "lb_policy "+policy+" {\nweight "+dead+" 1000\n}\nlb_retries 1"))
			get := func() {
				if answer := s.Get("/"); answer.StatusCode != http.StatusOK {
					t.Fatalf("a client got %d", answer.StatusCode)
				}
			}
			for range 200 {
				get()
			}
			// How many failures in a row are no chance falls as the others are known better, which is looked at now and then.
			gatehousetest.Eventually(t, "the ejection", func() bool { get(); return status(t, s, dead).Estimates[0].Ejected })
			if u := status(t, s, dead); u.Requests == 0 || u.Requests > 10 {
				t.Errorf("status %+v", u)
			}
		})
	}
}

// What has no end in sight is open, and is no load.
func TestStreamsAreNoLoad(t *testing.T) {
	address := serve(t, http.HandlerFunc(trouble))
	s := gatehousetest.Start(t, site(address, "lb_policy least_response_time {\nmeasure body\n}"))
	events, err := s.Client.Get(s.URL(":8080") + "/events?endless")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(":8080"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /upgrade HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	gatehousetest.Eventually(t, "two streams", func() bool {
		u := status(t, s, address)
		return u.InFlight == 2 && u.Estimates[0].Open == 2 && u.Estimates[0].InFlight == 0
	})
	conn.Close()
	events.Body.Close()
	gatehousetest.Eventually(t, "their end", func() bool { u := status(t, s, address); return u.InFlight == 0 && u.Estimates[0].Open == 0 })
}

func TestEstimatingWithinMaxRequestsAndDrain(t *testing.T) {
	backends := startBackends(t, 3)
	s := gatehousetest.Start(t, site(addresses(backends), preferred(backends[0].address, "explore off")+"unhealthy_request_count 1"))
	done := make(chan gatehousetest.Response, 1)
	go func() {
		answer, _ := s.Try(http.MethodGet, s.URL(":8080")+"/stream", "")
		done <- answer
	}()
	gatehousetest.Eventually(t, "the stream", func() bool { return status(t, s, backends[0].address).InFlight == 1 })
	post(t, s, "drain", upstreamJSON(backends[1].address, ""))
	for range 20 {
		if got := s.Get("/").Body; got != backends[2].address {
			t.Fatalf("%s is full or drained, and got a request", got)
		}
	}
	for _, b := range backends {
		close(b.release)
	}
	if answer := <-done; answer.Body != backends[0].address {
		t.Errorf("the stream ended with %q", answer.Body)
	}
	post(t, s, "undrain", upstreamJSON(backends[1].address, ""))
	if u := status(t, s, backends[1].address); u.Estimates[0].Ramp == 1 {
		t.Errorf("no ramp after the drain: %+v", u.Estimates)
	}
}

func TestEstimatingDynamicUpstreams(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n respond ok\n}")
	backends := startBackends(t, 3)
	for known(s, backends) { // the system gives ports out again, and the registry remembers those of other tests
		backends = startBackends(t, 3)
	}
	var sources strings.Builder
	for _, b := range backends {
		_, port, _ := net.SplitHostPort(b.address)
		fmt.Fprintf(&sources, "a 127.0.0.1 %s\n", port)
	}
	if err := s.Reload(site("", "dynamic multi {\n"+sources.String()+"}\nlb_policy least_response_time {\nexplore 1\nzone "+
		backends[0].address+" "+backends[2].address+"\n}")); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for range 100 {
		counts[s.Get("/").Body]++
	}
	if len(counts) < 2 || counts[""] > 0 {
		t.Errorf("got %v", counts)
	}
	for _, b := range backends {
		if u := status(t, s, b.address); u.Requests != uint64(counts[b.address]) || len(u.Estimates) != 1 || !u.Dynamic {
			t.Errorf("got %d, status %+v", counts[b.address], u)
		}
	}
}

// known reports whether the registry remembers any of them.
func known(s *gatehousetest.Server, backends []*backend) bool {
	list := s.Admin(http.MethodGet, "/gatehouse/upstreams", "").Body
	return slices.ContainsFunc(backends, func(b *backend) bool { return strings.Contains(list, `"`+b.address+`"`) })
}

// A client that breaks off its own body must not count against the upstream.
func TestBrokenUploads(t *testing.T) {
	address := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	s := gatehousetest.Start(t, site(address+" "+startBackends(t, 1)[0].address, preferred(address, "explore off")))
	for range 10 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(":8080"), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")
		_ = conn.SetDeadline(time.Now().Add(patience))
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode < 400 {
			t.Errorf("got %v, %v", resp, err)
		}
		conn.Close()
	}
	gatehousetest.Eventually(t, "ten cancellations", func() bool { return status(t, s, address).Estimates[0].Canceled == 10 })
	if u := status(t, s, address); u.Failures != 0 || u.Estimates[0].Failed != 0 {
		t.Errorf("status %+v", u)
	}
}

// Nor may one whose request becomes, by the config, one that cannot be sent.
func TestUnsendableHeaders(t *testing.T) {
	backends := startBackends(t, 2)
	for _, policy := range []string{"least_response_time", "guard"} {
		t.Run(policy, func(t *testing.T) {
			s := gatehousetest.Start(t, site(addresses(backends), "lb_policy "+policy+"\nheader_up X-Tenant {query.tenant}"))
			for range 20 {
				if answer := s.Get("/?tenant=blue%0d%0aX-Admin:%20yes"); answer.StatusCode != http.StatusBadGateway {
					t.Fatalf("got %d", answer.StatusCode)
				}
			}
			for _, b := range backends {
				if u := status(t, s, b.address); u.Failures != 0 || u.Estimates[0].Failed != 0 || u.Estimates[0].Ejections != 0 {
					t.Errorf("status %+v", u)
				}
			}
			if answer := s.Get("/?tenant=blue"); answer.StatusCode != http.StatusOK {
				t.Errorf("got %d", answer.StatusCode)
			}
		})
	}
}

// consistent_hash may have an estimating policy for requests without a key.
func TestEstimatingFallback(t *testing.T) {
	backends := startBackends(t, 2)
	s := gatehousetest.Start(t, site(addresses(backends), "lb_policy consistent_hash header X-Key {\nfallback least_response_time\n}"))
	for range 10 {
		s.Get("/")
		s.Get("/", "X-Key: 1")
	}
	answered := uint64(0)
	for _, b := range backends {
		answered += status(t, s, b.address).Estimates[0].Answered
	}
	if answered != 20 {
		t.Errorf("%d answers entered the estimates, want all 20", answered)
	}
}
