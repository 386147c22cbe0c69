// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/balance"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// stockPolicies are Caddy's own, and ours that may be guarded, set up for five upstreams.
var stockPolicies = []string{
	"random",
	"random_choose 2",
	"least_conn",
	"round_robin",
	"weighted_round_robin 3 1 2 2 2",
	"first",
	"ip_hash",
	"client_ip_hash",
	"uri_hash",
	"query k",
	"header X-Key",
	"cookie lb secret",
	"header X-None {\nfallback weighted_round_robin 1 2 3 4 5\n}",
	"consistent_hash query k",
}

func guarded(policy, more string) string {
	return "lb_policy guard {\npolicy " + policy + "\n" + more + "\n}"
}

// errorsOf sends requests with differing keys, from several clients at once, and counts the answers that are not 200 by
// status; 0 stands for none.
func errorsOf(s *gatehousetest.Server, requests, clients int) map[int]int {
	var mu sync.Mutex
	failed := map[int]int{}
	var sent atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := sent.Add(1); i <= int64(requests); i = sent.Add(1) {
				status := 0
				answer, err := s.Try(http.MethodGet, fmt.Sprintf("%s/?k=%d", s.URL(":8080"), i), "", fmt.Sprintf("X-Key: %d", i))
				if err == nil {
					status = answer.StatusCode
				}
				if status != http.StatusOK {
					mu.Lock()
					failed[status]++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}

// One of five upstreams is dead, and one retry is allowed: at most one request in a thousand may fail, whatever the policy.
// The dead one stands first, where `first` and weighted_round_robin like it best.
func TestGuardOneOfFiveDead(t *testing.T) {
	backends := startBackends(t, 4)
	upstreams := deadAddress(t) + " " + addresses(backends)
	const requests = deadRequests
	for _, ejects := range []string{"", "eject off"} {
		for _, policy := range stockPolicies {
			t.Run(strings.Fields(policy)[0]+" "+ejects, func(t *testing.T) {
				s := gatehousetest.Start(t, site(upstreams, guarded(policy, ejects)+"\nlb_retries 1"))
				if failed := errorsOf(s, requests, 8); len(failed) != 0 {
					t.Errorf("of %d requests failed, by status: %v", requests, failed)
				}
			})
		}
	}
	for _, policy := range []string{"header X-Key", "least_conn"} { // what the guard is for
		t.Run(policy+" without guard", func(t *testing.T) {
			s := gatehousetest.Start(t, site(upstreams, "lb_policy "+policy+"\nlb_retries 1"))
			failed := 0
			for round := 0; round < 10 && failed == 0; round++ { // least_conn fails the less, the fewer requests are under way at a time
				failed = errorsOf(s, requests, 8)[http.StatusBadGateway]
				t.Logf("of %d requests failed: %d", requests, failed)
			}
			if failed == 0 {
				t.Error("the unguarded policy fails nothing: this test shows nothing")
			}
		})
	}
}

// failing starts an upstream that fails a part of its requests.
func failing(t *testing.T, part float64, served *atomic.Int64) string {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		if rand.Float64() < part {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
}

// Two upstreams fail ten percent each. Caddy's passive checks alone take both out; the guard refuses nothing, and ejects
// at most one of the two.
func TestGuardTwoFlaky(t *testing.T) {
	passive := "\nfail_duration 10s\nunhealthy_status 5xx\nlb_try_duration 0"
	for _, test := range []struct {
		policy  string
		guarded bool
	}{
		{guarded("round_robin", ""), true},
		{guarded("least_conn", ""), true},
		{guarded("query k", ""), true},
		{guarded("weighted_round_robin 2 1", ""), true},
		{"lb_policy round_robin", false},
	} {
		t.Run(strings.Join(strings.Fields(test.policy), " "), func(t *testing.T) {
			var served [2]atomic.Int64
			one, two := failing(t, .1, &served[0]), failing(t, .1, &served[1])
			s := gatehousetest.Start(t, site(one+" "+two, test.policy+passive))
			done := make(chan struct{})
			var most int
			var watcher sync.WaitGroup
			if test.guarded {
				watcher.Go(func() { most = mostEjected(t, s, done) })
			}
			failed := errorsOf(s, 1000, 1)
			close(done)
			watcher.Wait()
			t.Logf("of 1000 requests failed, by status: %v; served %d and %d; at most %d ejected at a time",
				failed, served[0].Load(), served[1].Load(), most)
			switch {
			case !test.guarded:
				if failed[http.StatusServiceUnavailable] < 500 {
					t.Errorf("without the guard only %v: this test shows nothing", failed)
				}
			case failed[http.StatusServiceUnavailable] != 0 || failed[http.StatusBadGateway] != 0 || failed[0] != 0:
				t.Errorf("the proxy refused requests: %v", failed)
			case failed[http.StatusInternalServerError] > 200 || most > 1:
				t.Errorf("%v failed, %d were ejected at a time", failed, most)
			case served[0].Load() < 200 || served[1].Load() < 200:
				t.Errorf("one of two that are equally ill got nearly everything")
			}
		})
	}
}

// mostEjected watches the admin endpoint until done, and returns how many upstreams were ejected at a time.
func mostEjected(t *testing.T, s *gatehousetest.Server, done <-chan struct{}) (most int) {
	for {
		select {
		case <-done:
			return most
		case <-time.After(50 * time.Millisecond): // an ejection lasts a second at least
		}
		answer := s.Admin(http.MethodGet, "/gatehouse/upstreams", "")
		var all []balance.Status
		if err := json.Unmarshal([]byte(answer.Body), &all); err != nil {
			t.Errorf("%s: %v", answer.Body, err)
			return most
		}
		ejected := 0
		for _, u := range all {
			if len(u.Policies) > 0 && len(u.Estimates) > 0 && u.Estimates[0].Ejected {
				ejected++
			}
		}
		most = max(most, ejected)
	}
}

// An upstream that fails everything gets no more requests, until it is well again.
func TestGuardEjects(t *testing.T) {
	for _, test := range []struct{ policy, copies string }{
		{"round_robin", "on"}, {"query k", "on"}, {"query k", "off"}, {"first", "off"}, {"weighted_round_robin 1 1 1", "on"},
	} {
		t.Run(test.policy+", copies "+test.copies, func(t *testing.T) {
			patients := startPatients(t, 3)
			var ill atomic.Bool
			var served atomic.Int64
			front := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				served.Add(1)
				if ill.Load() {
					w.WriteHeader(http.StatusInternalServerError)
				}
			}))
			s := gatehousetest.Start(t, site(front+" "+patientsOf(patients[:2]),
				guarded(test.policy, "ramp off\nprobe {\nfirst 100ms\nlongest 200ms\ncopies "+test.copies+"\n}")))
			errorsOf(s, 60, 1)
			ill.Store(true)
			failed := errorsOf(s, 300, 1)
			if n := failed[http.StatusInternalServerError]; n == 0 || n > 12 {
				t.Errorf("while it fails everything: %v, want a few failures", failed)
			}
			ill.Store(false)
			before := served.Load()
			gatehousetest.Eventually(t, "the return", func() bool {
				errorsOf(s, 20, 1)
				return served.Load() > before+20
			})
		})
	}
}

// A session stays where it began, whatever the others do; one whose upstream is ejected moves once.
func TestGuardKeepsSessions(t *testing.T) {
	backends := startBackends(t, 4)
	var down atomic.Bool
	var served atomic.Int64
	ill := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte("ill"))
	}))
	s := gatehousetest.Start(t, site(ill+" "+addresses(backends),
		guarded("cookie lb secret", "probe {\nfirst 100ms\ncopies off\n}")))
	type session struct{ cookie, home string }
	var sessions []session
	for len(sessions) < 40 {
		answer := s.Get("/")
		sessions = append(sessions, session{"Cookie: lb=" + answer.Cookies()[0].Value, answer.Body})
	}
	down.Store(true)
	moved := 0
	for round := range 20 {
		for i := range sessions {
			was := sessions[i]
			answer := s.Get("/", was.cookie)
			if answer.StatusCode != http.StatusOK {
				continue
			}
			if answer.Body != was.home {
				if was.home != "ill" {
					t.Fatalf("round %d: a session moved from %s to %s", round, was.home, answer.Body)
				}
				if n := len(answer.Cookies()); n != 1 {
					t.Fatalf("a session moved with %d cookies", n)
				}
				moved++
				sessions[i] = session{"Cookie: lb=" + answer.Cookies()[0].Value, answer.Body}
			}
		}
	}
	if moved == 0 {
		t.Error("no session left the upstream that fails")
	}
}

// Drains and weights count, whatever the policy, and nothing is refused meanwhile.
func TestGuardDrainAndWeight(t *testing.T) {
	for _, policy := range stockPolicies {
		t.Run(strings.Fields(policy)[0], func(t *testing.T) {
			backends := startBackends(t, 5)
			s := gatehousetest.Start(t, site(addresses(backends), guarded(policy, "")))
			count := func(n int) map[string]int {
				got := map[string]int{}
				for i := range n {
					answer := s.Get(fmt.Sprint("/?k=", i), fmt.Sprint("X-Key: ", i))
					if answer.StatusCode != http.StatusOK {
						t.Fatalf("%d %s", answer.StatusCode, answer.Body)
					}
					got[answer.Body]++
				}
				return got
			}
			drained := backends[0].address
			post(t, s, "drain", upstreamJSON(drained, ""))
			if got := count(100); got[drained] != 0 {
				t.Errorf("the drained upstream got %d of 100", got[drained])
			}
			post(t, s, "undrain", upstreamJSON(drained, ""))
			if policy == "first" || policy == "ip_hash" || policy == "client_ip_hash" {
				return // one client, or one order
			}
			heavy := backends[1].address
			post(t, s, "weight", upstreamJSON(heavy, `,"weight":96`))
			defer post(t, s, "weight", upstreamJSON(heavy, `,"reset":true`))
			if got := count(200); got[heavy] < 150 {
				t.Errorf("the heavy upstream got %d of 200: %v", got[heavy], got)
			}
		})
	}
}

func TestGuardShares(t *testing.T) {
	backends := startBackends(t, 4)
	for policy, weights := range map[string][]float64{
		"round_robin": {4, 2, 1, 1}, "random": {1, 1, 1, 5}, "least_conn": {1, 2, 4, 1}, "query k": {1, 1, 4, 2},
		"weighted_round_robin 4 2 0 2": nil,
	} {
		t.Run(strings.Fields(policy)[0], func(t *testing.T) {
			var options strings.Builder
			for i, weight := range weights {
				fmt.Fprintf(&options, "weight %s %g\n", backends[i].address, weight)
			}
			if weights == nil {
				weights = []float64{4, 2, 0, 2}
			}
			s := gatehousetest.Start(t, site(addresses(backends), guarded(policy, options.String())))
			counts := map[string]int{}
			const requests = 1200
			for i := range requests {
				counts[s.Get(fmt.Sprint("/?k=", i)).Body]++
			}
			room := 80.0
			if policy == "least_conn" {
				room = 170 // a client may send its next request before the proxy counts the last one as ended, which evens the load
			}
			for i, b := range backends {
				want := weights[i] / 8 * requests
				if got := float64(counts[b.address]); got < want-room || got > want+room {
					t.Errorf("upstream %d got %g, want about %g", i, got, want)
				}
			}
		})
	}
}

// Four of five fail everything: only two may be ejected, and the proxy refuses nothing.
func TestGuardEjectsAtMostHalf(t *testing.T) {
	var served [5]atomic.Int64
	var upstreams []string
	for i := range served {
		part := 1.0
		if i == 0 {
			part = 0
		}
		upstreams = append(upstreams, failing(t, part, &served[i]))
	}
	s := gatehousetest.Start(t, site(strings.Join(upstreams, " "), guarded("random", "")))
	done := make(chan struct{})
	var most int
	var watcher sync.WaitGroup
	watcher.Go(func() { most = mostEjected(t, s, done) })
	failed := errorsOf(s, 1000, 1)
	close(done)
	watcher.Wait()
	if most != 2 || failed[http.StatusServiceUnavailable] != 0 || failed[http.StatusBadGateway] != 0 {
		t.Errorf("%d were ejected at a time, want 2; failed: %v", most, failed)
	}
}
