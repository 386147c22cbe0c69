// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
)

// ports are those that an upstream of this process had.
var ports sync.Map

// newServer starts an upstream on a port that none had before: what is known of an address outlives configs, and so the
// test that used it.
func newServer(h http.Handler) *httptest.Server {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
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
