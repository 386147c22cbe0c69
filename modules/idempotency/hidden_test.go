// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// These are second dispatches that the trace of an HTTP transport does not show, or shows as something else.

// fastcgi listens as an application that takes every request and then breaks the connection, and counts them.
func fastcgi(t *testing.T, dispatches *atomic.Int64) string {
	t.Helper()
	return gatehousetest.Listen(t, func(conn net.Conn) {
		if n, _ := conn.Read(make([]byte, 1<<16)); n > 0 {
			dispatches.Add(1)
		}
	})
}

func TestFastCGIIsNotRepeated(t *testing.T) {
	const proxied = `%s
	reverse_proxy %s %s {
		transport fastcgi
		lb_retries 3
		lb_retry_match {
			method POST
		}
	}
`
	s := gatehousetest.Start(t, ":8080 {\n}")
	for _, body := range []string{"", "a body"} {
		var dispatches atomic.Int64
		one, two := fastcgi(t, &dispatches), fastcgi(t, &dispatches)
		reload(t, s, ":8080 {\n\t"+fmt.Sprintf(proxied, "", one, two)+"}")
		post(s, "/", "plain", body)
		if n := dispatches.Swap(0); n < 2 && body == "" {
			t.Fatalf("plain Caddy dispatched %d times: the control proves nothing", n)
		}
		reload(t, s, ":8080 {\n\t"+fmt.Sprintf(proxied, "idempotency_key", one, two)+"}")
		expect(t, post(s, "/", "k"+strconv.Itoa(len(body)), body), http.StatusBadGateway, "outcome-unknown")
		expect(t, post(s, "/", "k"+strconv.Itoa(len(body)), body), http.StatusConflict, "outcome-unknown")
		if n := dispatches.Load(); n != 1 {
			t.Errorf("body %q: %d dispatches, want 1", body, n)
		}
	}
}

// The subrequest of forward_auth is traced; FastCGI behind it is not, and nothing about it is proven.
func TestFastCGIBehindForwardAuth(t *testing.T) {
	auth := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(auth.Close)
	var dispatches atomic.Int64
	s := gatehousetest.Start(t, fmt.Sprintf(`:8080 {
	idempotency_key
	handle {
		forward_auth %s {
			uri /
		}
		reverse_proxy %s {
			transport fastcgi
		}
	}
}`, auth.Listener.Addr(), fastcgi(t, &dispatches)))
	expect(t, post(s, "/", "k", ""), http.StatusBadGateway, "outcome-unknown")
	expect(t, post(s, "/", "k", ""), http.StatusConflict, "outcome-unknown")
	if n := dispatches.Load(); n != 1 {
		t.Errorf("%d dispatches, want 1", n)
	}
}

// An application may be told method and URI in the fields that forward_auth uses for its subrequests.
func TestForwardedMethodIsNoSubrequest(t *testing.T) {
	app := newApplication(t)
	s := gatehousetest.Start(t, fmt.Sprintf(`:8080 {
	idempotency_key {
		methods POST DELETE
	}
	reverse_proxy %s {
		header_up X-Forwarded-Method {method}
		header_up X-Forwarded-Uri {uri}
	}
}`, app.Listener.Addr()))
	for i, body := range []string{"", "a body"} {
		expect(t, post(s, "/reset", fmt.Sprint("k", i), body), http.StatusBadGateway, "outcome-unknown")
		expect(t, post(s, "/reset", fmt.Sprint("k", i), body), http.StatusConflict, "outcome-unknown")
		if n := app.effects.Swap(0); n != 1 {
			t.Errorf("body %q: %d effects, want 1", body, n)
		}
	}
	for range 2 {
		s.Do(http.MethodDelete, s.URL(":8080")+"/reset", "", "Idempotency-Key: gone")
	}
	if n := app.effects.Load(); n != 1 {
		t.Errorf("DELETE: %d effects, want 1", n)
	}
}

func reload(t *testing.T, s *gatehousetest.Server, caddyfile string) {
	t.Helper()
	if err := s.Reload(caddyfile); err != nil {
		t.Fatal(err)
	}
}

// The inner one of two handlers must not wait for the outer one, which waits for it.
func TestTwoHandlers(t *testing.T) {
	app := newApplication(t)
	s := gatehousetest.Start(t, fmt.Sprintf(`:8080 {
	idempotency_key
	handle {
		idempotency_key
		reverse_proxy %s
	}
}`, app.Listener.Addr()))
	first := post(s, "/orders", "k", "soap")
	if first.StatusCode != http.StatusCreated || first.Body != "order 1: soap" {
		t.Fatalf("got %d %q", first.StatusCode, first.Body)
	}
	expectReplay(t, first, post(s, "/orders", "k", "soap"))
	if n := app.effects.Load(); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

// A handler in front may limit the body, too.
func TestRequestBodyLimit(t *testing.T) {
	app := newApplication(t)
	s := gatehousetest.Start(t, fmt.Sprintf(`:8080 {
	request_body {
		max_size 4
	}
	idempotency_key
	reverse_proxy %s
}`, app.Listener.Addr()))
	body := io.MultiReader(strings.NewReader("too much")) // of a length that is not announced
	req, err := http.NewRequest(http.MethodPost, s.URL(":8080")+"/orders", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "k")
	resp, err := s.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(text), "#body-too-large") {
		t.Errorf("got %d %q, %v", resp.StatusCode, text, err)
	}
}

// `header` in front changes values in place: those of the client that was first, and not those that are kept.
func TestHeadersInFront(t *testing.T) {
	app := newApplication(t)
	s := gatehousetest.Start(t, fmt.Sprintf(`:8080 {
	header >Location orders a/orders
	idempotency_key
	reverse_proxy %s
}`, app.Listener.Addr()))
	results := make(chan gatehousetest.Response)
	const clients = 8
	for range clients {
		go func() { results <- post(s, "/slow", "k", "") }()
	}
	gatehousetest.Eventually(t, "all but one to wait", func() bool { return metric(t, s, `gatehouse_idempotency_waiting{store="memory"}`) == clients-1 })
	close(app.release)
	for range clients {
		if got := (<-results).Header.Get("Location"); got != "/a/orders/1" {
			t.Errorf("got the Location %q", got)
		}
	}
}
