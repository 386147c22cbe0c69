// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// These are second dispatches that the trace of an HTTP transport does not show, or shows as something else.

// fastcgi listens as an application that takes every request and then breaks the connection, and counts them.
func fastcgi(t *testing.T, dispatches *atomic.Int64) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if n, _ := conn.Read(make([]byte, 1<<16)); n > 0 {
				dispatches.Add(1)
			}
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
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
	for _, body := range []string{"", "a body"} {
		var dispatches atomic.Int64
		one, two := fastcgi(t, &dispatches), fastcgi(t, &dispatches)
		plain := gatehousetest.Start(t, ":8080 {\n\t"+fmt.Sprintf(proxied, "request_body {\n\t\tmax_size 1MiB\n\t}", one, two)+"}")
		post(plain, "/", "k", body)
		if n := dispatches.Swap(0); n < 2 && body == "" {
			t.Fatalf("plain Caddy dispatched %d times: the control proves nothing", n)
		}
		s := gatehousetest.Start(t, ":8080 {\n\t"+fmt.Sprintf(proxied, "idempotency_key", one, two)+"}")
		expect(t, post(s, "/", "k", body), http.StatusBadGateway, "outcome-unknown")
		expect(t, post(s, "/", "k", body), http.StatusConflict, "outcome-unknown")
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
