// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// clients is how many connections the load of one writer uses.
const clients = 8

// requestTimeout bounds a request.
const requestTimeout = 5 * time.Second

// load makes requests and remembers which responses arrived whole.
type load struct {
	address string
	running sync.WaitGroup

	mu    sync.Mutex
	whole map[string]bool // by URI
	waits []time.Duration // of the whole ones
}

func newLoad(address string) *load { return &load{address: address, whole: map[string]bool{}} }

// begin makes so many requests a second until ctx ends.
func (l *load) begin(ctx context.Context, rate int) {
	for c := range clients {
		l.running.Go(func() { l.client(ctx, c, float64(rate)/clients) })
	}
}

func (l *load) wait() { l.running.Wait() }

func (l *load) received() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole
}

// count is how many responses have arrived whole so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.whole)
}

func (l *load) client(ctx context.Context, number int, rate float64) {
	c := &connection{address: l.address}
	defer c.close()
	begun, made := time.Now(), 0
	for ctx.Err() == nil {
		if due := int(time.Since(begun).Seconds() * rate); made >= due {
			time.Sleep(time.Millisecond)
			continue
		}
		uri := fmt.Sprintf("/%d/%d", number, made)
		made++
		sent := time.Now()
		if err := c.get(uri); err == nil {
			l.mu.Lock()
			l.whole[uri] = true
			l.waits = append(l.waits, time.Since(sent))
			l.mu.Unlock()
		} else {
			c.close()
			time.Sleep(10 * time.Millisecond) // it is being started again
			begun = begun.Add(10 * time.Millisecond)
		}
	}
}

// connection is a client's. It is simpler than net/http's, as the load shares the processor with what is measured.
type connection struct {
	address string
	conn    net.Conn // nil before it is made
	reader  *bufio.Reader
}

// get makes a request. It fails unless the response has arrived whole.
func (c *connection) get(uri string) error {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.address, requestTimeout)
		if err != nil {
			return err
		}
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(c.conn, "GET "+uri+" HTTP/1.1\r\nHost: "+c.address+"\r\nUser-Agent: loadtest\r\n\r\n"); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.Close {
		defer c.close()
	}
	if answer.StatusCode != http.StatusOK || string(text) != "ok" {
		return fmt.Errorf("answered %s", answer.Status)
	}
	return nil
}

func (c *connection) close() {
	if c.conn != nil {
		_ = c.conn.Close() // it was read from to the end, or failed
		c.conn = nil
	}
}
