// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// requestsBy counts the requests of the proxy's own that an upstream got.
func (f *flaky) requestsBy(agent string) (n int) {
	for _, r := range f.requests() {
		if r.UserAgent() == agent {
			n++
		}
	}
	return n
}

const ownAgent = "gatehouse-probe"

// Where no request may be copied, clients see nothing of an outage but what ejected, and its end is found out.
func TestProxyAsksWhereNothingMayBeCopied(t *testing.T) {
	for _, policy := range []string{"least_response_time", "guard"} {
		t.Run(policy, func(t *testing.T) {
			sick, well := startFlaky(t), startFlaky(t)
			s := gatehousetest.Start(t, site(sick.address+" "+well.address,
				"lb_policy "+policy+" {\nweight "+sick.address+" 1000\n"+quickProbes+"\n}\n"))
			order := func() gatehousetest.Response { return s.Do(http.MethodPost, s.URL(":8080")+"/order", "one") }
			sick.failing.Store(true)
			errors := 0
			gatehousetest.Eventually(t, "questions of the proxy", func() bool {
				if order().StatusCode != http.StatusOK {
					errors++
				}
				return sick.requestsBy(ownAgent) >= 3
			})
			before := status(t, s, sick.address)
			if errors > 10 || uint64(errors) != before.Estimates[0].Failed || !before.Estimates[0].Ejected {
				t.Errorf("%d errors in an outage, want at most 10: %+v", errors, before)
			}
			if before.Requests != uint64(len(sick.requests())-sick.requestsBy(ownAgent)) {
				t.Errorf("%d requests arrived, %d of them the proxy's, and %d are counted", len(sick.requests()), sick.requestsBy(ownAgent), before.Requests)
			}
			sick.failing.Store(false)
			gatehousetest.Eventually(t, "the recovery", func() bool {
				if answer := order(); answer.StatusCode != http.StatusOK {
					t.Fatalf("a client got %d", answer.StatusCode)
				}
				return !status(t, s, sick.address).Estimates[0].Ejected
			})
			metrics := s.Admin(http.MethodGet, "/metrics", "").Body
			want := fmt.Sprintf("gatehouse_upstream_probe_requests_total{upstream=%q} %d\n", sick.address, sick.requestsBy(ownAgent))
			if !strings.Contains(metrics, want) {
				t.Errorf("no %q in the metrics", want)
			}
		})
	}
}

// What no upstream answers tells nothing: else a site without such a page would never get its upstream back.
func TestQuestionThatNobodyAnswers(t *testing.T) {
	var failing atomic.Bool
	start := func(fails *atomic.Bool) string {
		return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet || fails.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
	}
	sick, well := start(&failing), start(new(atomic.Bool))
	s := gatehousetest.Start(t, site(sick+" "+well, preferred(sick, "probe {\nrequest /no/such/page\nfirst 100ms\nsuccesses 2\n}")))
	order := func() int { return s.Do(http.MethodPost, s.URL(":8080")+"/order", "one").StatusCode }
	failing.Store(true)
	gatehousetest.Eventually(t, "the ejection", func() bool { order(); return status(t, s, sick).Estimates[0].Ejected })
	failing.Store(false)
	gatehousetest.Eventually(t, "the recovery", func() bool { order(); return !status(t, s, sick).Estimates[0].Ejected })
}

// With health checks, the proxy asks as they do.
func TestProxyAsksAsHealthChecksDo(t *testing.T) {
	sick, well := startFlaky(t), startFlaky(t)
	s := gatehousetest.Start(t, site(sick.address+" "+well.address,
		preferred(sick.address, quickProbes+"\nhealth /healthz {\ninterval 10m\nheaders {\nUser-Agent doctor\n}\n}")))
	sick.failing.Store(true)
	gatehousetest.Eventually(t, "a question", func() bool {
		s.Do(http.MethodPost, s.URL(":8080")+"/order", "one")
		return sick.requestsBy("doctor") >= 3 // the first one may be the check's
	})
	if n := sick.requestsBy(ownAgent); n > 0 {
		t.Errorf("%d questions that are not the check's", n)
	}
}

// beforeFastCGI is a site with two FastCGI upstreams, of which it prefers the sick one.
func beforeFastCGI(t *testing.T, sick string) string {
	t.Helper()
	well := gatehousetest.FastCGI(t, func(http.ResponseWriter, *http.Request) {})
	return site(sick+" "+well, preferred(sick, quickProbes)+"transport fastcgi")
}

// No FastCGI request is ever copied.
func TestProxyAsksOverFastCGI(t *testing.T) {
	var failing atomic.Bool
	var asked atomic.Int64
	sick := gatehousetest.FastCGI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() == ownAgent {
			asked.Add(1)
		}
		if failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	s := gatehousetest.Start(t, beforeFastCGI(t, sick))
	failing.Store(true)
	errors := 0
	gatehousetest.Eventually(t, "questions", func() bool {
		if s.Get("/index.php").StatusCode != http.StatusOK {
			errors++
		}
		return asked.Load() >= 3
	})
	if errors > 10 {
		t.Errorf("%d errors, want at most 10", errors)
	}
	failing.Store(false)
	gatehousetest.Eventually(t, "the recovery", func() bool { s.Get("/index.php"); return !status(t, s, sick).Estimates[0].Ejected })
}

// A reload does not wait for a FastCGI upstream that takes a question and never answers.
func TestReloadDoesNotWaitForQuestionsOverFastCGI(t *testing.T) {
	var hangs atomic.Bool
	var hanging atomic.Int64
	sick := gatehousetest.Listen(t, func(net.Conn) {
		if hangs.Load() {
			hanging.Add(1)
			<-t.Context().Done()
		}
	})
	s := gatehousetest.Start(t, beforeFastCGI(t, sick))
	gatehousetest.Eventually(t, "the ejection", func() bool { s.Get("/index.php"); return status(t, s, sick).Estimates[0].Ejected })
	hangs.Store(true)
	gatehousetest.Eventually(t, "a question", func() bool { s.Get("/index.php"); return hanging.Load() > 0 })
	began := time.Now()
	if err := s.Reload(":8080 {\nrespond well\n}\n"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the reload took %v", took)
	}
}
