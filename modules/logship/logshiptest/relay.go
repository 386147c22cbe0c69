// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logshiptest

import (
	"net"
	"sync"
	"testing"
)

// Relay stands before a TCP server and fails like a network: it can refuse and cut connections, or accept them and let
// nothing through. It carries any protocol, so the server behind it is the real one or a faithful fake.
type Relay struct {
	// Address is where it listens, a loopback host and port.
	Address string

	backend  string
	listener net.Listener

	mu      sync.Mutex
	mode    mode
	change  chan struct{} // closed, and replaced, when the mode changes
	conns   map[net.Conn]bool
	running sync.WaitGroup
}

type mode int

const (
	passing mode = iota
	broken
	stalled
)

// NewRelay starts a relay before the server at backend (host and port), and ends it with the test.
func NewRelay(t testing.TB, backend string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{
		Address: l.Addr().String(), backend: backend, listener: l,
		change: make(chan struct{}), conns: map[net.Conn]bool{},
	}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close() // of a socket that only tests use
		r.set(broken)
		r.running.Wait()
	})
	return r
}

// Break cuts every connection, and new ones as soon as they are accepted.
func (r *Relay) Break() { r.set(broken) }

// Stall accepts connections and bytes and lets none through, in either direction. It keeps the connections there are.
func (r *Relay) Stall() { r.set(stalled) }

// Mend lets everything through again.
func (r *Relay) Mend() { r.set(passing) }

func (r *Relay) set(m mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode = m
	close(r.change)
	r.change = make(chan struct{})
	if m != broken {
		return
	}
	for c := range r.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as a crash gives
		}
		_ = c.Close()
	}
}

func (r *Relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(conn) })
	}
}

// keep notes a connection, so that Break cuts it; it reports whether there is any use in it.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	return r.mode != broken
}

func (r *Relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
		_ = c.Close()
	}
}

func (r *Relay) serve(front net.Conn) {
	defer r.drop(front)
	if !r.keep(front) {
		return
	}
	back, err := net.Dial("tcp", r.backend)
	if err != nil {
		return
	}
	defer r.drop(back)
	if !r.keep(back) {
		return
	}
	var pipes sync.WaitGroup
	pipes.Go(func() { r.pipe(back, front) })
	pipes.Go(func() { r.pipe(front, back) })
	pipes.Wait()
}

func (r *Relay) pipe(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && r.pass() {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the relay is stalled, and reports whether bytes go through.
func (r *Relay) pass() bool {
	for {
		r.mu.Lock()
		m, change := r.mode, r.change
		r.mu.Unlock()
		if m != stalled {
			return m == passing
		}
		<-change
	}
}
