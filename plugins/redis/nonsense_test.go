// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// answers sends the same text for each line that comes in.
func answers(text string) func(net.Conn) {
	return func(conn net.Conn) {
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

func TestWhatIsNoRedisOpensTheBreaker(t *testing.T) {
	gatehousetest.NoLeaks(t)
	for name, serve := range map[string]func(net.Conn){
		"answers HTTP":             answers("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
		"answers binary":           answers("\x15\x03\x01\x00\x02\x02\x50\xff\xfe\r\n"),
		"answers errors":           answers("-ERR what is that\r\n"),
		"answers a broken length":  answers("$-7\r\n*99999999999999999999\r\n"),
		"answers without an end":   answers("$1000000\r\nabc"),
		"answers an endless line":  answers("+" + strings.Repeat("x", 70000)),
		"answers OK to everything": answers("+OK\r\n"),
		"never answers":            func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"closes at once":           func(net.Conn) {},
		"closes at the first byte": func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := strict(gatehousetest.Listen(t, serve))
			config.Timeout = caddy.Duration(2 * time.Second) // closing the client waits for commands that were sent
			c := open(t, config)
			if cmd, err := c.Do(t.Context(), "GET", "key"); err == nil {
				t.Errorf("got %v for an answer", cmd)
			}
			eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
			if _, err := c.Do(t.Context(), "GET", "key"); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			eventually(t, "the prober goes on", func() bool { return c.Status().FailedPings > 3 })
			if s := c.Status(); s.State != StateDown || s.Opens != 1 || s.LastError == "" {
				t.Errorf("the breaker did not stay open, or says no reason: %+v", s)
			}
		})
	}
}
