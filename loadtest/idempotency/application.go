// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// lease is that of the proxies; slow is what the application takes for some operations.
const (
	lease = 400 * time.Millisecond
	slow  = time.Second
)

// application takes effect once for each request that it gets, and misbehaves by the key.
type application struct {
	server     http.Server
	address    string
	seed       uint64
	misbehaves bool

	mu      sync.Mutex
	effects map[string]int
}

func startApplication(seed uint64, misbehave bool) (*application, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the application: %w", err)
	}
	a := &application{address: listener.Addr().String(), seed: seed, misbehaves: misbehave, effects: map[string]int{}}
	a.server.Handler = http.HandlerFunc(a.serve)
	go func() { _ = a.server.Serve(listener) }() // ends when the server is closed
	return a, nil
}

// fate is a number below 100, the same for a key whenever it is drawn.
func fate(seed uint64, purpose, key string) int {
	h := fnv.New64a()
	fmt.Fprint(h, seed, purpose, key)
	return int(h.Sum64() % 100)
}

func (a *application) serve(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	key := strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
	draw := 100
	if a.misbehaves {
		draw = fate(a.seed, "application", key)
	}
	if draw < 10 {
		time.Sleep(slow) // and takes effect whatever became of the connection meanwhile
	}
	answer := fmt.Sprintf(`{"key":%q,"effect":%d,"at":%d}`, key, a.effect(key), time.Now().UnixNano())
	switch {
	case draw >= 10 && draw < 20:
		reset(w)
	case draw >= 20 && draw < 25:
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)+100))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, answer)
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer)
}

func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

func (a *application) effect(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.effects[key]++
	return a.effects[key]
}

func (a *application) effectsOf(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.effects[key]
}
