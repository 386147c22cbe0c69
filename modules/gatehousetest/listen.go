// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"net"
	"net/http"
	"net/http/fcgi"
	"testing"
)

// Listen has each connection to a free loopback address served in a goroutine of its own and closed then, for servers that
// misbehave as no real one would. It returns the address. New connections are accepted until the test ends; serve may wait
// for that with the test's context.
func Listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	return listen(t, func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	})
}

// FastCGI serves FastCGI on a free loopback address until the test ends. It returns the address.
func FastCGI(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	return listen(t, func(l net.Listener) { _ = fcgi.Serve(l, handler) }) // its error is that the listener was closed
}

// listen runs accept until the test ends.
func listen(t testing.TB, accept func(net.Listener)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		accept(l)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}
