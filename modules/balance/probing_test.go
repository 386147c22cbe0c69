// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// transport provisions a transport of Caddy's.
func transport(t *testing.T, name, config string) http.RoundTripper {
	t.Helper()
	v, err := gatehousetest.Context(t).LoadModuleByID("http.reverse_proxy.transport."+name, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return v.(http.RoundTripper)
}

// checkOnce makes one check through a transport and returns why it failed.
func checkOnce(t *testing.T, h Health, via http.RoundTripper, address string) error {
	t.Helper()
	made, err := h.parse(describe(via))
	if err != nil {
		t.Fatal(err)
	}
	own, hangUp := checkTransport(via, made.timeout)
	defer hangUp()
	ctx, cancel := context.WithTimeout(t.Context(), made.timeout)
	defer cancel()
	return made.run(context.WithValue(ctx, caddyhttp.ServerCtxKey, new(caddyhttp.Server)), own, address)
}

func serve(t *testing.T, tls bool, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	if tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestCheckExpectations(t *testing.T) {
	address := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
			w.Header().Set("Location", "/")
			w.WriteHeader(status)
		}
		switch r.URL.Path {
		case "/hangs":
			<-r.Context().Done()
		case "/aborts":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "well")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/endless":
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 1<<16))
			}
		default:
			fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Host, r.Header)
		}
	})
	plain := transport(t, "http", "{}")
	for _, c := range []struct {
		name   string
		health Health
		want   string // part of the problem; empty for none
	}{
		{"default", Health{}, ""},
		{"404", Health{URI: "/?status=404"}, "status 404"},
		{"redirect is not followed", Health{URI: "/?status=302"}, "status 302"},
		{"redirect is expected", Health{URI: "/?status=302", Status: []int{3}}, ""},
		{"one status", Health{URI: "/?status=201", Status: []int{200}}, "status 201"},
		{"several statuses", Health{URI: "/?status=503", Status: []int{2, 503}}, ""},
		{"body", Health{Body: "GET / "}, ""},
		{"other body", Health{Body: "^ok$"}, "no match of"},
		{"body, but the status is wrong", Health{URI: "/?status=500", Body: "GET"}, "status 500"},
		{"path and query", Health{URI: "/a%2Fb?c=d%20e", Body: `/a%2Fb\?c=d%20e`}, ""},
		{"host is the upstream's", Health{Body: "HOST " + address}, "no match"},
		{"method", Health{Method: "HEAD"}, ""},
		{"headers", Health{Headers: http.Header{"Host": {"app.example"}, "X-Check": {"1"}}, Body: `app\.example map\[.*X-Check:\[1\]`}, ""},
		{"says who it is", Health{Body: `gatehouse-health-check`}, ""},
		{"no answer", Health{URI: "/hangs", Timeout: caddy.Duration(50 * time.Millisecond)}, "deadline exceeded"},
		{"body breaks off", Health{URI: "/aborts"}, "reading the body"},
		{"endless body", Health{URI: "/endless"}, ""},
		{"other port", Health{Port: 1}, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkOnce(t, c.health, plain, address)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, bad := range []string{"does-not-resolve.invalid:80", "{env.GATEHOUSE_TEST_NO_SUCH_VARIABLE}:80", "host:1-3"} {
		if err := checkOnce(t, Health{}, plain, bad); err == nil {
			t.Errorf("the check of %s passed", bad)
		}
	}
}

// What the handler's transport is set up with, checks use too.
func TestCheckTransports(t *testing.T) {
	proto := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s tls=%t", r.Proto, r.TLS != nil) }
	t.Run("tls", func(t *testing.T) {
		address := serve(t, true, proto)
		if err := checkOnce(t, Health{Body: "tls=true"}, transport(t, "http", `{"tls":{"insecure_skip_verify":true}}`), address); err != nil {
			t.Error(err)
		}
		if err := checkOnce(t, Health{}, transport(t, "http", `{"tls":{}}`), address); err == nil {
			t.Error("an unknown certificate was accepted")
		}
		if err := checkOnce(t, Health{Body: "tls=true"}, transport(t, "http", `{"tls":{"insecure_skip_verify":true},"max_conns_per_host":1}`), address); err != nil {
			t.Error(err)
		}
	})
	t.Run("http/2", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(proto))
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		for _, limit := range []string{"", `,"max_conns_per_host":1`} {
			via := transport(t, "http", `{"tls":{"insecure_skip_verify":true}`+limit+`}`)
			if err := checkOnce(t, Health{Body: "HTTP/2.0 tls=true"}, via, server.Listener.Addr().String()); err != nil {
				t.Errorf("%s: %v", limit, err)
			}
		}
	})
	t.Run("http/3", func(t *testing.T) { // its connections are not the HTTP transport's, and have no limit
		via := transport(t, "http", `{"tls":{"insecure_skip_verify":true},"versions":["3"],"max_conns_per_host":1}`)
		if own, _ := checkTransport(via, time.Second); own != via {
			t.Errorf("checks go through %T, which does not speak HTTP/3", own)
		}
	})
	t.Run("h2c", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(proto))
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
		t.Cleanup(server.Close)
		if err := checkOnce(t, Health{Body: "HTTP/2.0"}, transport(t, "http", `{"versions":["h2c"]}`), server.Listener.Addr().String()); err != nil {
			t.Error(err)
		}
	})
	t.Run("proxy protocol", func(t *testing.T) {
		address := gatehousetest.Listen(t, func(conn net.Conn) {
			in := bufio.NewReader(conn)
			line, _ := in.ReadString('\n')
			_, _ = http.ReadRequest(in)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(line), line)
		})
		if err := checkOnce(t, Health{Body: `^PROXY TCP4 127\.0\.0\.1 `}, transport(t, "http", `{"proxy_protocol":"v1"}`), address); err != nil {
			t.Error(err)
		}
	})
}

func TestCheckUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	if err := checkOnce(t, Health{}, transport(t, "http", "{}"), "unix/"+path); err != nil {
		t.Error(err)
	}
	if err := checkOnce(t, Health{Port: 80}, transport(t, "http", "{}"), "unix/"+path); err == nil || !strings.Contains(err.Error(), "has no port") {
		t.Errorf("another port of a socket: %v", err)
	}
}

func TestCheckFastCGI(t *testing.T) {
	ping := gatehousetest.FastCGI(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "pong %s", r.URL.Path) })
	if err := checkOnce(t, Health{URI: "/ping", Body: "pong /ping"}, transport(t, "fastcgi", "{}"), ping); err != nil {
		t.Error(err)
	}
	silent := gatehousetest.Listen(t, func(net.Conn) { <-t.Context().Done() })
	err := checkOnce(t, Health{Timeout: caddy.Duration(100 * time.Millisecond)}, transport(t, "fastcgi", "{}"), silent)
	if err == nil { // without the timeout, the test would not end
		t.Error("a FastCGI server that does not answer passed")
	}
}

// A transport that needs what a check does not have fails the check, not the process.
func TestCheckPanics(t *testing.T) {
	if err := checkOnce(t, Health{}, panicking{}, "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "panicked: no server") {
		t.Errorf("got %v", err)
	}
}

type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("no server") }

// Checks that go through different transports are different checks.
func TestCheckKeys(t *testing.T) {
	key := func(h Health, config string) string {
		made, err := h.parse(describe(transport(t, "http", config)))
		if err != nil {
			t.Fatal(err)
		}
		return made.key
	}
	if key(Health{}, "{}") != key(Health{URI: "/", Interval: defaultCheckInterval, Status: []int{2}}, "{}") {
		t.Error("spelling out the defaults makes another check")
	}
	if key(Health{}, "{}") == key(Health{}, `{"tls":{}}`) {
		t.Error("with and without TLS is the same check")
	}
	if strings.Contains(key(Health{Headers: http.Header{"Authorization": {"secret"}}}, "{}"), "secret") {
		t.Error("the key shows a header")
	}
	if _, ok := transport(t, "http", "{}").(*reverseproxy.HTTPTransport); !ok {
		t.Error("Caddy's transport is of another type: checkTransport does not know it")
	}
}
