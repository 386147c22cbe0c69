// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// application is an upstream whose effects are counted.
type application struct {
	*httptest.Server
	effects atomic.Int64
	release chan struct{} // /slow answers when it is closed

	mu   sync.Mutex
	last *http.Request // as it came
}

func newApplication(t testing.TB) *application {
	t.Helper()
	a := &application{release: make(chan struct{})}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() {
		a.CloseClientConnections()
		a.Close()
	})
	return a
}

func (a *application) seen() *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *application) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if r.Method == http.MethodGet {
		a.serveStatus(w, r)
		return
	}
	a.mu.Lock()
	a.last = r
	a.mu.Unlock()
	n := a.effects.Add(1)
	w.Header().Set("Set-Cookie", "session=secret")
	w.Header().Set("X-Request-Cost", "3")
	switch r.URL.Path {
	case "/slow":
		select {
		case <-a.release:
		case <-r.Context().Done():
		}
	case "/reset":
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
		return
	case "/truncated":
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "a part")
		panic(http.ErrAbortHandler)
	case "/large":
		fmt.Fprint(w, strings.Repeat("x", 3000))
		return
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		return
	case "/policy":
		w.Header().Set("Idempotency-Policy", r.URL.Query().Get("policy"))
	}
	status := http.StatusCreated
	if _, err := fmt.Sscanf(r.URL.Path, "/status/%d", &status); err == nil && r.URL.Query().Has("retry") {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Location", fmt.Sprintf("/orders/%d", n))
	w.WriteHeader(status)
	fmt.Fprintf(w, "order %d: %s", n, body)
}

// serveStatus answers probes.
func (a *application) serveStatus(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("is") {
	case "done":
		fmt.Fprint(w, "found by a probe")
	case "nothing":
		http.NotFound(w, r)
	default:
		http.Error(w, "no idea", http.StatusInternalServerError)
	}
}
