// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dunglas/httpsfv"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	_ "github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/memory"
)

// config is a Caddyfile whose clients are what X-Forwarded-For says, as all of a test's requests come from one machine.
func config(global, site string) string {
	return fmt.Sprintf("{\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1\n\t\ttrusted_proxies_strict\n\t}\n\tmetrics\n\t%s\n}\n:8080 {\n\t%s\n}\n",
		global, site)
}

// as requests a path as a client, again if the connection fails: a reload replaces listeners.
func as(t *testing.T, s *gatehousetest.Server, client, path string, headers ...string) gatehousetest.Response {
	t.Helper()
	for tries := 1; ; tries++ {
		resp, err := s.Try(http.MethodGet, s.URL(":8080")+path, "", append(headers, "X-Forwarded-For: "+client)...)
		if err == nil {
			return resp
		}
		if tries == 10 {
			t.Fatal(err)
		}
	}
}

// statuses requests a path n times and returns the statuses, as "200 200 429".
func statuses(t *testing.T, s *gatehousetest.Server, n int, client, path string, headers ...string) string {
	t.Helper()
	var list []string
	for range n {
		list = append(list, strconv.Itoa(as(t, s, client, path, headers...).StatusCode))
	}
	return strings.Join(list, " ")
}

// policies makes names of policies that no other test of this process has counted by.
var policies atomic.Int64

func policy() string { return fmt.Sprintf("p%d", policies.Add(1)) }

func TestOneLine(t *testing.T) {
	s := gatehousetest.Start(t, config("", "request_limit 3 61s\n\trespond ok"))
	for i := range 3 {
		resp := as(t, s, "203.0.113.7", "/")
		want := fmt.Sprintf(`"3/1m1s";r=%d;t=`, 2-i)
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("RateLimit"), want) || resp.Header.Get("RateLimit-Policy") != `"3/1m1s";q=3;w=61` {
			t.Fatalf("request %d: %s %v", i+1, resp.Status, resp.Header)
		}
	}
	resp := as(t, s, "203.0.113.7", "/")
	if resp.StatusCode != 429 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("the fourth: %s %v", resp.Status, resp.Header)
	}
	var problem struct {
		Type     string
		Status   int
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal([]byte(resp.Body), &problem); err != nil {
		t.Fatal(err)
	}
	if problem.Status != 429 || !strings.HasSuffix(problem.Type, "#quota-exceeded") || fmt.Sprint(problem.Violated) != "[3/1m1s]" {
		t.Errorf("problem %s", resp.Body)
	}
	checkFields(t, resp)
	if got := statuses(t, s, 1, "203.0.113.8", "/"); got != "200" {
		t.Errorf("another client got %s", got)
	}
}

// checkFields parses the fields of an answer as the standards define them, and compares Retry-After with t.
func checkFields(t *testing.T, resp gatehousetest.Response) {
	t.Helper()
	policies, err := httpsfv.UnmarshalList(resp.Header["Ratelimit-Policy"])
	if err != nil || len(policies) == 0 {
		t.Fatalf("RateLimit-Policy %q: %v", resp.Header["Ratelimit-Policy"], err)
	}
	limits, err := httpsfv.UnmarshalList(resp.Header["Ratelimit"])
	if err != nil || len(limits) != len(policies) {
		t.Fatalf("RateLimit %q: %v", resp.Header["Ratelimit"], err)
	}
	retry, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 64)
	if resp.StatusCode == 429 && (err != nil || retry < 1) {
		t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
	}
	for i, member := range limits {
		item, declared := member.(httpsfv.Item), policies[i].(httpsfv.Item)
		r, _ := item.Params.Get("r")
		q, _ := declared.Params.Get("q")
		if item.Value != declared.Value || r.(int64) < 0 || r.(int64) > q.(int64) {
			t.Errorf("RateLimit %q beside %q", resp.Header["Ratelimit"], resp.Header["Ratelimit-Policy"])
		}
		if wait, ok := item.Params.Get("t"); ok && r.(int64) == 0 && resp.StatusCode == 429 && retry < wait.(int64) {
			t.Errorf("Retry-After %d is before t=%d", retry, wait)
		}
	}
}

func TestWindowsTogether(t *testing.T) {
	name := policy()
	s := gatehousetest.Start(t, config("", "request_limit "+name+" {\n\t\twindow 3 1m\n\t\twindow 4 1h\n\t\theaders all\n\t}\n\trespond ok"))
	if got := statuses(t, s, 5, "203.0.113.7", "/"); got != "200 200 200 429 429" {
		t.Errorf("got %s", got)
	}
	resp := as(t, s, "203.0.113.7", "/")
	if got := resp.Header.Get("RateLimit"); !strings.Contains(got, `"`+name+`-1h";r=1;`) || !strings.Contains(got, `"`+name+`-1m";r=0;`) {
		t.Errorf("refused requests count: %s", got)
	}
	if resp.Header.Get("X-RateLimit-Limit") != "3" || resp.Header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("%v", resp.Header)
	}
	checkFields(t, resp)
}

// One client that is refused by its own limit must not use up what it shares with others.
func TestVictim(t *testing.T) {
	name := policy()
	s := gatehousetest.Start(t, config("", fmt.Sprintf("request_limit %s-ip {\n\t\twindow 10 1m\n\t}\n\trequest_limit %s-all {\n\t\tkey all\n\t\twindow 60 1m\n\t}\n\trespond ok", name, name)))
	got := statuses(t, s, 100, "203.0.113.7", "/")
	if strings.Count(got, "200") != 10 {
		t.Errorf("the client got %d of 100", strings.Count(got, "200"))
	}
	if got := statuses(t, s, 11, "203.0.113.8", "/"); strings.Count(got, "200") != 10 {
		t.Errorf("its victim got %s", got)
	}
	resp := as(t, s, "203.0.113.9", "/")
	if values := resp.Header["Ratelimit"]; len(values) != 2 || !strings.Contains(values[1], "-all\";r=39;") {
		t.Errorf("RateLimit %v", values)
	}
	checkFields(t, resp)
}

func TestKeys(t *testing.T) {
	a, b := policy(), policy()
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit /a* %s {
		key {header.X-Key}
		window 2 1m
	}
	request_limit /b* %s {
		key {client_ip}|{method}
		ipv6_prefix 48
		window 2 1m
	}
	respond ok`, a, b)))
	for _, c := range []struct{ client, path, key, want string }{
		{"203.0.113.7", "/a", "one", "200 200 429"},
		{"203.0.113.8", "/a", "one", "429"},
		{"203.0.113.8", "/a", "two", "200 200 429"},
		{"203.0.113.9", "/a", "", "200 200 429"}, // without a key the address is the key
		{"203.0.113.10", "/a", "", "200"},
		{"203.0.113.7", "/a", strings.Repeat("x", 5000) + "1", "200 200 429"},
		{"203.0.113.7", "/a", strings.Repeat("x", 5000) + "2", "200"},
		{"203.0.113.7", "/b", "", "200 200 429"},
		{"203.0.113.8", "/b", "", "200"},
		{"2001:db8:0:1::1", "/b", "", "200"},
		{"2001:db8:0:2::1", "/b", "", "200 429"}, // one /48
		{"2001:db8:1::1", "/b", "", "200"},
		{"::ffff:203.0.113.7", "/b", "", "429"}, // IPv4, written in IPv6
	} {
		n := strings.Count(c.want, " ") + 1
		if got := statuses(t, s, n, c.client, c.path, "X-Key: "+c.key); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

// A client that sends a forwarded address with each request is one client, unless a trusted proxy sent it.
func TestForgedAddressesAreOneKey(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n\trequest_limit "+policy()+" {\n\t\twindow 5 1h\n\t}\n\trespond ok\n}")
	var passed atomic.Int64
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 2500 {
				resp, err := s.Try(http.MethodGet, s.URL(":8080"), "", fmt.Sprintf("X-Forwarded-For: 10.%d.%d.%d", g, i>>8, i&255))
				if err != nil {
					t.Error(err)
					return
				}
				if resp.StatusCode == 200 {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if passed.Load() != 5 {
		t.Errorf("%d of 10,000 requests with forged addresses passed, want 5", passed.Load())
	}
}

func TestChargeOn(t *testing.T) {
	name := policy()
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit %s {
		window 3 1m
		charge_on 401 5xx
	}
	respond /written 401
	error /returned 401
	error /broken "no" 503
	handle_errors {
		respond "{err.status_code}"
	}
	respond ok`, name)))
	if got := statuses(t, s, 10, "203.0.113.7", "/"); strings.Count(got, "200") != 10 {
		t.Errorf("successes count: %s", got)
	}
	got := statuses(t, s, 1, "203.0.113.7", "/written") + " " + statuses(t, s, 1, "203.0.113.7", "/returned") + " " +
		statuses(t, s, 1, "203.0.113.7", "/broken") + " " + statuses(t, s, 2, "203.0.113.7", "/")
	if got != "401 401 503 429 429" {
		t.Errorf("got %s", got)
	}
}

// Guesses that are sent all at once must not slip through before the first answer is known.
func TestChargeOnHoldsParallelGuesses(t *testing.T) {
	s := gatehousetest.Start(t, config("", "request_limit "+policy()+" {\n\t\twindow 5 1m\n\t\tcharge_on 401\n\t}\n\trespond 401"))
	var guesses atomic.Int64
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			resp, err := s.Try(http.MethodGet, s.URL(":8080"), "", "X-Forwarded-For: 203.0.113.7")
			if err == nil && resp.StatusCode == 401 {
				guesses.Add(1)
			}
		})
	}
	group.Wait()
	if guesses.Load() != 5 {
		t.Errorf("%d guesses passed, want 5", guesses.Load())
	}
}

func TestCosts(t *testing.T) {
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit /fixed %s {
		window 10 1m
		cost 4
	}
	request_limit /header %s {
		window 10 1m
		cost {header.X-Cost}
	}
	request_limit /rule %s {
		window 10 1m
		cost "{method} == 'POST' ? 5 : 1 + {query.n} / 2"
	}
	respond ok`, policy(), policy(), policy())))
	for _, c := range []struct {
		client, path, cost string
		remaining          int
	}{
		{"203.0.113.1", "/fixed", "", 6},
		{"203.0.113.1", "/header", "7", 3},
		{"203.0.113.2", "/header", "-7", 9}, // is no cost, and counts as one
		{"203.0.113.3", "/header", "x", 9},
		{"203.0.113.4", "/header", "", 9},
		{"203.0.113.5", "/header", "0", 10},
		{"203.0.113.6", "/rule?n=8", "", 5},
		{"203.0.113.7", "/rule?n=a", "", 9},
	} {
		resp := as(t, s, c.client, c.path, "X-Cost: "+c.cost)
		if got := resp.Header.Get("RateLimit"); resp.StatusCode != 200 || !strings.Contains(got, fmt.Sprintf(";r=%d;", c.remaining)) {
			t.Errorf("%+v: %s %q", c, resp.Status, got)
		}
	}
	if resp := as(t, s, "203.0.113.9", "/header", "X-Cost: 99999999999"); resp.StatusCode != 429 {
		t.Errorf("a cost above the limit: %s", resp.Status)
	}
}

func TestAllowDryRunAndStatus(t *testing.T) {
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit /allow %s {
		window 1 1m
		allow 10.0.0.0/8 2001:db8::/32
	}
	request_limit /dry %s {
		window 1 1m
		dry_run
	}
	request_limit /status %s {
		window 1 1m
		status 503
		headers none
	}
	header >X-Outcome {http.gatehouse.request_limit.outcome}/{http.gatehouse.request_limit.policy}/{http.gatehouse.request_limit.remaining}
	respond ok`, "allow", "dry", "status")))
	for _, c := range []struct{ client, path, want, outcome string }{
		{"10.1.2.3", "/allow", "200 200 200", "allow_listed/allow/"},
		{"2001:db8::1", "/allow", "200 200", "allow_listed/allow/"},
		{"11.1.2.3", "/allow", "200 429", "refused/allow/0"},
		{"11.1.2.3", "/dry", "200 200 200", "dry_run/dry/0"},
		{"11.1.2.3", "/status", "200 503", "refused/status/0"},
	} {
		n := strings.Count(c.want, " ") + 1
		if got := statuses(t, s, n, c.client, c.path); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
		resp := as(t, s, c.client, c.path)
		if got := resp.Header.Get("X-Outcome"); got != c.outcome {
			t.Errorf("%+v: outcome %q", c, got)
		}
		standard := resp.Header.Get("RateLimit") != ""
		if standard != (c.outcome == "refused/allow/0") {
			t.Errorf("%+v: RateLimit %q", c, resp.Header.Get("RateLimit"))
		}
	}
}

func TestErrorRoutesAnswer(t *testing.T) {
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit %s {
		window 1 1m
	}
	respond ok
	handle_errors {
		respond "slow down: {err.message}" {err.status_code}
	}`, policy())))
	if got := statuses(t, s, 2, "203.0.113.7", "/"); got != "200 429" {
		t.Errorf("got %s", got)
	}
	resp := as(t, s, "203.0.113.7", "/")
	if resp.Body != "slow down: the request is over its limit" || resp.Header.Get("Retry-After") == "" || resp.Header.Get("RateLimit") == "" {
		t.Errorf("%q %v", resp.Body, resp.Header)
	}
}

func TestLimitsTable(t *testing.T) {
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit %s {
		window 1 1m
		limits {header.X-Plan} {
			gold 3 1m
			gold 4 1h
			silver 2 1m
			staff unlimited
		}
	}
	header >X-Class {http.gatehouse.request_limit.class}
	respond ok`, policy())))
	for _, c := range []struct{ client, plan, want, class string }{
		{"203.0.113.1", "", "200 429", ""},
		{"203.0.113.2", "none", "200 429", ""},
		{"203.0.113.3", "gold", "200 200 200 429", "gold"},
		{"203.0.113.4", "silver", "200 200 429", "silver"},
		{"203.0.113.5", "staff", "200 200 200 200 200 200", ""},
	} {
		n := strings.Count(c.want, " ") + 1
		if got := statuses(t, s, n, c.client, "/", "X-Plan: "+c.plan); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
	if got := as(t, s, "203.0.113.9", "/", "X-Plan: silver").Header.Get("X-Class"); got != "silver" {
		t.Errorf("class %q", got)
	}
}

// Requests in flight are counted while they last, also if their handler panics.
func TestConcurrency(t *testing.T) {
	release := make(chan struct{})
	var inFlight atomic.Int64
	origin := http.Server{Addr: gatehousetest.FreeAddress(t), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			inFlight.Add(1)
			<-release
		}
		if r.URL.Path == "/abort" {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})}
	go func() { _ = origin.ListenAndServe() }()
	t.Cleanup(func() { _ = origin.Close() })
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit %s {
		algorithm concurrency
		window 2
	}
	reverse_proxy %s {
		lb_try_duration 5s
	}`, policy(), origin.Addr)))
	if resp := as(t, s, "203.0.113.7", "/"); resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("RateLimit-Policy"), `;q=2;qu="concurrent-requests"`) {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for { // a request of those below may have the place
				resp, err := s.Try(http.MethodGet, s.URL(":8080")+"/slow", "", "X-Forwarded-For: 203.0.113.7")
				if err != nil || resp.StatusCode != 429 {
					return
				}
			}
		})
	}
	gatehousetest.Eventually(t, "two requests are in flight", func() bool { return inFlight.Load() == 2 })
	if got := statuses(t, s, 3, "203.0.113.7", "/"); got != "429 429 429" {
		t.Errorf("with two in flight: %s", got)
	}
	if got := statuses(t, s, 1, "203.0.113.8", "/"); got != "200" {
		t.Errorf("another client got %s", got)
	}
	close(release)
	group.Wait()
	for range 5 {
		_, _ = s.Try(http.MethodGet, s.URL(":8080")+"/abort", "", "X-Forwarded-For: 203.0.113.7") // cut off
	}
	gatehousetest.Eventually(t, "all places are free", func() bool {
		return strings.Contains(as(t, s, "203.0.113.7", "/").Header.Get("RateLimit"), ";r=1")
	})
}

func TestAccessLog(t *testing.T) {
	file, name := filepath.Join(t.TempDir(), "access.log"), policy()
	s := gatehousetest.Start(t, config("", fmt.Sprintf("log {\n\t\toutput file %s\n\t}\n\trequest_limit %s {\n\t\twindow 1 1m\n\t}\n\trespond ok", file, name)))
	statuses(t, s, 2, "203.0.113.7", "/")
	gatehousetest.Eventually(t, "both requests are logged", func() bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), `"request_limit":{"outcome":"passed","policy":"`+name+`","remaining":"0"}`) &&
			strings.Contains(string(text), `"request_limit":{"outcome":"refused","policy":"`+name+`","remaining":"0"}`)
	})
}

func TestSameNameOtherWindows(t *testing.T) {
	s := gatehousetest.Start(t, config("", "request_limit /a twice {\n\t\twindow 1 1m\n\t}\n\trequest_limit /b twice {\n\t\twindow 1 1m\n\t}\n\trespond ok"))
	if got := statuses(t, s, 1, "203.0.113.7", "/a") + statuses(t, s, 1, "203.0.113.7", "/b"); got != "200429" {
		t.Errorf("handlers of one policy do not count together: %s", got)
	}
	err := s.Reload(config("", "request_limit /a twice {\n\t\twindow 1 1m\n\t}\n\trequest_limit /b twice {\n\t\twindow 2 1m\n\t}\n\trespond ok"))
	if err == nil || !strings.Contains(err.Error(), "policy twice is configured twice and differently") {
		t.Errorf("got %v", err)
	}
}

// Two keys of one policy would be one: a header that says what another client's address is would use up that client's limit.
func TestSameNameOtherKey(t *testing.T) {
	site := func(key string) string {
		return config("", "request_limit /a keys {\n\t\twindow 1 1m\n\t}\n\trequest_limit /b keys {\n\t\twindow 1 1m\n\t\t"+key+"\n\t}\n\trespond ok")
	}
	s := gatehousetest.Start(t, site("key {client_ip}"))
	for _, key := range []string{"key {header.X-Key}", "ipv6_prefix 48"} {
		if err := s.Reload(site(key)); err == nil || !strings.Contains(err.Error(), "policy keys is configured twice and differently") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A header directive changes values in place: it must not change those of other answers.
func TestHeadersAreTheAnswersOwn(t *testing.T) {
	s := gatehousetest.Start(t, config("", "header >RateLimit-Policy q=9 q=99\n\trequest_limit "+policy()+" {\n\t\twindow 9 1m\n\t}\n\trespond ok"))
	for range 3 {
		if got := as(t, s, "203.0.113.7", "/").Header.Get("RateLimit-Policy"); !strings.HasSuffix(got, ";q=99;w=60") {
			t.Fatalf("RateLimit-Policy %q", got)
		}
	}
}

// The problem names the window that refused as RateLimit-Policy does, also where a table of limits has other windows.
func TestProblemNamesTheWindowOfAClass(t *testing.T) {
	s := gatehousetest.Start(t, config("", fmt.Sprintf("request_limit %s {\n\t\twindow 5 1m\n\t\twindow 9 1h\n\t\tlimits {header.X-Plan} {\n\t\t\ttrial 1 2m\n\t\t\ttrial 9 2h\n\t\t}\n\t}\n\trespond ok", policy())))
	as(t, s, "203.0.113.7", "/", "X-Plan: trial")
	resp := as(t, s, "203.0.113.7", "/", "X-Plan: trial")
	if resp.StatusCode != 429 || !strings.Contains(resp.Body, `-2m"]`) || !strings.Contains(resp.Header.Get("RateLimit-Policy"), `-2m";q=1;`) {
		t.Errorf("%s %s %v", resp.Status, resp.Body, resp.Header)
	}
}

func TestBan(t *testing.T) {
	name := policy()
	s := gatehousetest.Start(t, config("", fmt.Sprintf("ip_ban\n\trequest_limit %s {\n\t\twindow 1 1m\n\t\tban after 3 in 10m for 1h\n\t}\n\trespond ok", name)))
	if got := statuses(t, s, 6, "203.0.113.7", "/"); got != "200 429 429 429 403 403" {
		t.Errorf("got %s", got)
	}
	if got := statuses(t, s, 1, "203.0.113.8", "/"); got != "200" {
		t.Errorf("another client got %s", got)
	}
	if resp := s.Admin(http.MethodGet, "/gatehouse/bans", ""); !strings.Contains(resp.Body, `"source":"`+name+`"`) {
		t.Errorf("bans: %s", resp.Body)
	}
	err := s.Reload(config("", fmt.Sprintf("request_limit %s {\n\t\twindow 1 1m\n\t\tban after 3 in 10m for 1h\n\t}\n\trespond ok", name)))
	if err == nil || !strings.Contains(err.Error(), "ip_ban") {
		t.Errorf("ban without ip_ban: %v", err)
	}
}
