// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

// exchange sends a request and returns what comes back until the end.
func exchange(t *testing.T, address, send string) (string, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil { // also a reset that comes very early
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, send); err != nil {
		return "", err
	}
	got, err := io.ReadAll(conn)
	return string(got), err
}

// accepting hands over connections that pretend to come from an address.
type accepting struct {
	net.Listener
	peer net.Addr
}

type pretending struct {
	net.Conn
	peer net.Addr
}

func (l accepting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return pretending{conn, l.peer}, nil
}

func (c pretending) RemoteAddr() net.Addr { return c.peer }

const httpRequest = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// serveWrapped serves through the listener wrapper; peer is what connections pretend to come from, if it is not empty.
func serveWrapped(t *testing.T, l *ipban.Listener, peer string) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := inner
	if peer != "" {
		listener = accepting{inner, &net.TCPAddr{IP: net.ParseIP(peer), Port: 1}}
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }),
		ReadHeaderTimeout: 10 * time.Second,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l.WrapListener(listener))
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return inner.Addr().String()
}

// A peer that another wrapper tells, as that of the PROXY protocol does, is refused with the first read.
func TestListenerRefusesAPeerThatAnotherWrapperTells(t *testing.T) {
	_, app := provisioned(t)
	if err := app.BanAddress(t.Context(), mustAddr(someone), time.Hour, "test", ""); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		peer   string
		dry    bool
		served bool
	}{
		"banned":  {someone, false, false},
		"dry run": {someone, true, true},
		"another": {neighbor, false, true},
		"itself":  {"127.0.0.1", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := ipban.ListenerOf(app, c.dry)
			got, err := exchange(t, serveWrapped(t, l, c.peer), httpRequest)
			if served := strings.HasSuffix(got, "served"); served != c.served {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// The peer of a plain socket is refused before a byte is read, with a reset.
func TestListenerResetsABannedSocket(t *testing.T) {
	_, app := provisioned(t)
	ipban.AllowNobody(app) // so that this machine can be banned
	address := serveWrapped(t, ipban.ListenerOf(app, false), "")
	if got, err := exchange(t, address, httpRequest); err != nil || !strings.HasSuffix(got, "served") {
		t.Fatalf("before the ban: %q, %v", got, err)
	}
	if err := app.BanAddress(t.Context(), mustAddr("127.0.0.1"), time.Hour, "test", ""); err != nil {
		t.Fatal(err)
	}
	got, err := exchange(t, address, httpRequest)
	if got != "" || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %q, %v, want a reset", got, err)
	}
}

// Through Caddy the wrapper sees the sockets of the server, and knows the server's trusted proxies.
func TestListenerInAServer(t *testing.T) {
	for name, trust := range map[string]string{"no trusted proxy": "", "a trusted proxy": "trusted_proxies static 127.0.0.1"} {
		t.Run(name, func(t *testing.T) {
			s := gatehousetest.Start(t, "{\n\tservers {\n\t\t"+trust+"\n\t\tlistener_wrappers {\n\t\t\tip_ban\n\t\t\ttls\n\t\t}\n\t}\n}\n"+
				":8080 {\n\trespond ok\n}\n")
			ipban.AllowNobody(ipban.Running(t))
			address := strings.TrimPrefix(s.URL(":8080"), "http://")
			if got, err := exchange(t, address, httpRequest); err != nil || !strings.HasSuffix(got, "ok") {
				t.Fatalf("before the ban: %q, %v", got, err)
			}
			if err := ipban.Running(t).BanAddress(t.Context(), mustAddr("127.0.0.1"), time.Hour, "test", ""); err != nil {
				t.Fatal(err)
			}
			got, err := exchange(t, address, httpRequest)
			if passed := strings.HasSuffix(got, "ok"); passed != (trust != "") { // no directive ip_ban is there to refuse
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
