// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/balance"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// requestsVariable sets how many requests TestInFlightReturnsToZero sends by each policy; inFlightRequests if it is not set.
const requestsVariable = "GATEHOUSE_INFLIGHT_REQUESTS"

func init() {
	caddy.RegisterModule(panicker{})
	httpcaddyfile.RegisterDirectiveOrder("test_panic", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterHandlerDirective("test_panic", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return panicker{}, nil
	})
}

// panicker is a handler that aborts the response, as Caddy's do when an upstream breaks off.
type panicker struct{}

// CaddyModule returns the Caddy module information.
func (panicker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_panic", New: func() caddy.Module { return new(panicker) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (panicker) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
	panic(http.ErrAbortHandler)
}

// trouble is an upstream on which requests end in every way.
func trouble(w http.ResponseWriter, r *http.Request) {
	flush := func() { _ = http.NewResponseController(w).Flush() }
	switch r.URL.Path {
	case "/abort": // breaks off in the middle of the body
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, "beginning")
		flush()
		panic(http.ErrAbortHandler)
	case "/reset": // closes the connection instead of answering
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	case "/wait": // never answers
		<-r.Context().Done()
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			flush()
		}
		if r.URL.Query().Has("endless") {
			<-r.Context().Done()
		}
	case "/upgrade":
		echo(w)
	case "/error":
		w.WriteHeader(http.StatusInternalServerError)
	default:
		_, _ = w.Write(make([]byte, 1000+rand.IntN(50_000)))
	}
}

// echo switches protocols and sends back the first line that comes.
func echo(w http.ResponseWriter) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_ = rw.Flush()
	line, _ := rw.ReadString('\n')
	fmt.Fprint(rw, line)
	_ = rw.Flush()
}

// troubledSite starts the upstreams and returns a Caddyfile that leads to them in every way, by a policy.
func troubledSite(t *testing.T, policy string) string {
	t.Helper()
	one, two := serve(t, http.HandlerFunc(trouble)), serve(t, http.HandlerFunc(trouble))
	php := gatehousetest.FastCGI(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "from FastCGI") })
	return fmt.Sprintf(`{
	log {
		level FATAL
	}
}
:8080 {
	handle /php* {
		reverse_proxy %[1]s {
			lb_policy %[5]s
			transport fastcgi
		}
	}
	handle /nested* { # the panic leaves the response's body open
		reverse_proxy %[2]s {
			lb_policy %[5]s
			handle_response {
				test_panic
			}
		}
	}
	handle {
		reverse_proxy %[2]s %[3]s %[4]s {
			lb_policy %[5]s
			lb_retries 2
			lb_retry_match {
				expression `+"`{rp.status_code} == 500`"+`
			}
		}
	}
}
`, php, one, two, deadAddress(t), policy)
}

// ways are the paths by which a request may go, and whether its client leaves before the end.
var ways = []struct {
	path  string
	leave bool
}{
	{"/", false},
	{"/", false},
	{"/", true},
	{"/wait", true},
	{"/abort", false},
	{"/reset", false},
	{"/error", false},
	{"/events?", false},
	{"/events?endless&", true},
	{"/php/index.php", false},
	{"/php/index.php", true},
	{"/nested", false},
	{"/nested", true},
}

func TestInFlightReturnsToZero(t *testing.T) {
	requests := inFlightRequests
	if text := os.Getenv(requestsVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", requestsVariable, err)
		}
		requests = n
	}
	for name, policy := range map[string]string{
		"consistent_hash":     "consistent_hash query k {\nbalance_factor 1.25\n}",
		"least_response_time": "least_response_time",
		"to the end":          "least_response_time {\nmeasure body\n}",
		"least_bandwidth":     "least_bandwidth",
		"guard":               "guard {\npolicy query k\n}",
	} {
		t.Run(name, func(t *testing.T) { inFlightReturnsToZero(t, policy, requests) })
	}
}

func inFlightReturnsToZero(t *testing.T, policy string, requests int) {
	s := gatehousetest.Start(t, troubledSite(t, policy))
	var sent atomic.Int64
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for n := sent.Add(1); n <= int64(requests); n = sent.Add(1) {
				if n%50 == 0 {
					upgrade(t, strings.TrimPrefix(s.URL(":8080"), "http://"), n)
					continue
				}
				way := ways[n%int64(len(ways))]
				get(s.Client, fmt.Sprintf("%s%s?k=%d", s.URL(":8080"), way.path, n), way.leave)
			}
		})
	}
	clients.Wait()

	var all []balance.Status
	gatehousetest.Eventually(t, "the end of all requests", func() bool {
		all = nil
		if err := json.Unmarshal([]byte(s.Admin(http.MethodGet, "/gatehouse/upstreams", "").Body), &all); err != nil {
			t.Fatal(err)
		}
		for _, u := range all {
			if u.InFlight > 0 || !estimatesAreIdle(u) {
				return false
			}
		}
		return true
	})
	total, failed := uint64(0), uint64(0)
	for _, u := range all {
		if len(u.Policies) == 0 { // of another subtest
			continue
		}
		if u.InFlight != 0 || !estimatesAreIdle(u) {
			t.Errorf("%s has %d requests in flight, and estimates %+v", u.Address, u.InFlight, u.Estimates)
		}
		total, failed = total+u.Requests, failed+u.Failures
	}
	t.Logf("%d requests, %d attempts, of which %d failed", requests, total, failed)
	if total < uint64(requests)*9/10 || failed == 0 {
		t.Errorf("%d attempts with %d failures are too few for %d requests", total, failed, requests)
	}
}

// estimatesAreIdle reports whether no estimate has a request under way.
func estimatesAreIdle(u balance.Status) bool {
	for _, e := range u.Estimates {
		if e.InFlight != 0 || e.Open != 0 || e.Waiting != 0 {
			return false
		}
	}
	return true
}

// get sends a request and reads the answer, or leaves within a few milliseconds. What comes back does not matter.
func get(client *http.Client, url string, leave bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if leave {
		timer := time.AfterFunc(time.Duration(rand.IntN(5_000))*time.Microsecond, cancel)
		defer timer.Stop()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// upgrade switches protocols, and every other time leaves without a word.
func upgrade(t *testing.T, address string, n int64) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Errorf("connecting: %v", err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /upgrade?k=%d HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", n)
	if n%100 == 0 {
		return
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("upgrading: %v, %v", resp, err)
		return
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("the echo was %q, %v", line, err)
	}
}
