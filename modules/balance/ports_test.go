// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ports are those that an upstream of this process had.
var ports sync.Map

// serve starts an upstream for a test and returns its address.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	server := newServer(h)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // before it, which waits for requests
	return server.Listener.Addr().String()
}

// newServer starts an upstream on a port that none had before: what is known of an address outlives configs, and so the
// test that used it. Where others have taken all ports, it waits until some are free again.
func newServer(h http.Handler) *httptest.Server {
	for deadline := time.Now().Add(2 * patience); ; {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline) {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if err != nil {
			panic(err) // as httptest.NewServer does
		}
		if _, used := ports.LoadOrStore(l.Addr().String(), true); !used {
			s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
			s.Start()
			return s
		}
		defer l.Close() // held meanwhile, or the next could be the same
	}
}
