// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// network carries connections in memory. One that was silenced swallows what is sent and brings nothing, as a path does on which
// packets vanish: neither end hears that the other is gone.
type network struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu    sync.Mutex
	links []*link
}

// link is one connection: its two ends are joined by goroutines that copy.
type link struct{ silent atomic.Bool }

func newNetwork() *network {
	return &network{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.accepted:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) dial(context.Context, string, string) (net.Conn, error) {
	client, front := net.Pipe()
	back, server := net.Pipe()
	l := new(link)
	go l.carry(front, back)
	go l.carry(back, front)
	n.mu.Lock()
	n.links = append(n.links, l)
	n.mu.Unlock()
	select {
	case n.accepted <- server:
		return client, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// carry copies in one direction until the connection ends.
func (l *link) carry(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !l.silent.Load() {
			_, _ = to.Write(buffer[:n]) // fails if that end is gone, which the next read tells
		}
		if err != nil {
			return
		}
	}
}

// silence has the connections that there are carry nothing any more, and returns how many those are.
func (n *network) silence() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.silent.Store(true)
	}
	return len(n.links)
}

func line(dst []byte) []byte { return append(dst, "line\n"...) }

// An HTTP/2 connection outlives the requests that time out on it. One whose other end has gone silent is found out and given
// up, within the first try's deadline, and the next try gets through.
func TestSilentConnectionIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := newNetwork()
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("the request came by %s", r.Proto)
			}
			_, _ = io.Copy(io.Discard, r.Body) // the answer tells
			w.WriteHeader(http.StatusNoContent)
		}))
		_ = server.Listener.Close() // it is replaced
		server.Listener, server.EnableHTTP2 = wire, true
		server.StartTLS()
		defer server.Close()
		c, err := NewClient(Config{URL: server.URL, InsecureSkipVerify: true}, None, 1<<10)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.http.Transport.(*http.Transport).DialContext = wire.dial
		post := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := c.Post(ctx, "text/plain", "id", line)
			return err
		}
		for range 2 {
			if err := post(); err != nil {
				t.Fatal(err)
			}
		}
		if n := wire.silence(); n != 1 {
			t.Fatalf("%d connections were made for two batches", n)
		}
		begun := time.Now()
		if err := post(); err == nil {
			t.Fatal("nothing comes through, and yet the batch was delivered")
		}
		if took := time.Since(begun); took > pingAfter+pingTimeout+time.Second { // of the test's own clock
			t.Errorf("the dead connection was found out after %s", took)
		}
		if err := post(); err != nil {
			t.Errorf("the next try is by the dead connection, too: %v", err)
		}
	})
}
