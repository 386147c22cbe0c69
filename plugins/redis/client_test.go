// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestDo(t *testing.T) {
	gatehousetest.NoLeaks(t)
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	if got := c.Status().State; got != StateUnused {
		t.Fatalf("before the first command the state is %q", got)
	}
	if got := ask(t, c, "SET", c.Key("a", "b"), "1"); got != "OK" {
		t.Fatalf("SET answers %q", got)
	}
	if answer, err := server.Command("EXISTS gatehouse:1:a:b"); err != nil || answer != ":1" {
		t.Fatalf("the key is not where it belongs: %q, %v", answer, err)
	}
	cmd, err := c.Do(t.Context(), "GET", c.Key("none"))
	if !errors.Is(err, goredis.Nil) || errors.Is(err, ErrUnavailable) || cmd == nil {
		t.Fatalf("an absent key gives %v, %v", cmd, err)
	}
	cmd, err = c.Do(t.Context(), "LPUSH", c.Key("a", "b"), "x")
	if !goredis.HasErrorPrefix(err, "WRONGTYPE") || errors.Is(err, ErrUnavailable) || cmd == nil {
		t.Fatalf("an error reply gives %v, %v", cmd, err)
	}
	eventually(t, "the prober finds it up", func() bool { return c.Status().State == StateUp })
}

func TestAnswersReachTheirRequests(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			for j := range 50 {
				want := fmt.Sprint(i, "-", j)
				cmd, err := c.Do(t.Context(), "ECHO", want)
				if err != nil || cmd.Val() != want {
					t.Errorf("ECHO %s answers %v, %v", want, cmd, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestUnreachable(t *testing.T) {
	gatehousetest.NoLeaks(t)
	c := open(t, at(gatehousetest.FreeAddress(t)))
	_, err := c.Do(t.Context(), "PING")
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
	if s := c.Status(); s.State != StateDown || !strings.Contains(s.LastError, "connection refused") {
		t.Fatalf("status %+v", s)
	}
}

func TestContextEndsTheWait(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{
		URL: server.URL(), Timeout: 1e10, // 10 s: neither it nor the breaker is to end the wait
		Probe: &ProbeConfig{Timeout: 1e10},
	})
	ask(t, c, "PING")
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // it is sent by then
	defer cancel()
	_, err := c.Do(ctx, "PING")
	if !errors.Is(err, ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	// This one stays in the queue behind the first, so it is known not to have been sent.
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = c.Do(ctx, "PING")
	if errors.Is(err, ErrUncertain) || !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}

func TestAbandonedCommandsAreNotSent(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{URL: server.URL(), Timeout: 1e10, Probe: &ProbeConfig{Timeout: 1e10}})
	ask(t, c, "PING")
	server.Pause()
	short := func(key string, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := c.Do(ctx, "SET", key, "1")
		return err
	}
	first, second := short("sent", 500*time.Millisecond), short("queued", 20*time.Millisecond)
	server.Resume()
	ask(t, c, "PING") // behind both
	if answer, _ := server.Command("EXISTS sent"); answer != ":1" || !errors.Is(first, ErrUncertain) {
		t.Errorf("the command that was sent: EXISTS %s, error %v", answer, first)
	}
	if answer, _ := server.Command("EXISTS queued"); answer != ":0" || errors.Is(second, ErrUncertain) {
		t.Errorf("the command that was queued: EXISTS %s, error %v", answer, second)
	}
}

// A request that is over already sends nothing.
func TestNothingIsSentForARequestThatIsOver(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if _, err := c.Do(ctx, "INCR", "n"); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUncertain) || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	if answer, _ := server.Command("EXISTS n"); answer != ":0" {
		t.Errorf("EXISTS: %s", answer)
	}
}

func TestTimeout(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{URL: server.URL(), Timeout: 5e7, Probe: &ProbeConfig{Timeout: 1e10}})
	eventually(t, "it is connected", func() bool { _, err := c.Do(t.Context(), "PING"); return err == nil })
	server.Pause()
	defer server.Resume()
	begun := time.Now()
	_, err := c.Do(t.Context(), "PING")
	if took := time.Since(begun); !errors.Is(err, ErrUncertain) || took < 50*time.Millisecond || took > within/2 {
		t.Fatalf("got %v after %v", err, took)
	}
}

func TestQueueIsLimited(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{URL: server.URL(), Pool: &PoolConfig{Queue: 8}, Timeout: 1e9, Probe: &ProbeConfig{Timeout: 1e10}})
	eventually(t, "it is connected", func() bool { _, err := c.Do(t.Context(), "PING"); return err == nil })
	server.Pause()
	defer server.Resume()
	var group sync.WaitGroup
	var rejected atomic.Int32
	for range 32 {
		group.Go(func() {
			if _, err := c.Do(t.Context(), "PING"); errors.Is(err, ErrBusy) {
				rejected.Add(1)
			}
		})
	}
	group.Wait()
	if n := rejected.Load(); n < 32-8 {
		t.Fatalf("%d of 32 commands were rejected by a queue of 8", n)
	}
}

func TestClosedClient(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s, err := at(server.Address).resolve("test", caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []bool{false, true} {
		logger, _ := observed()
		c := newClient(s, logger)
		if use {
			ask(t, c, "PING")
		}
		if err := c.Destruct(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(t.Context(), "PING"); !errors.Is(err, ErrClosed) {
			t.Fatalf("a closed client answers %v", err)
		}
		if _, err := c.Universal(); use == false && !errors.Is(err, ErrClosed) {
			t.Fatalf("a closed client that was never used opens: %v", err)
		}
	}
}

func TestUniversal(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	u, err := c.Universal()
	if err != nil {
		t.Fatal(err)
	}
	sub := u.Subscribe(t.Context(), "news")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(t, c, "PUBLISH", "news", "hello")
	message, err := sub.ReceiveMessage(t.Context())
	if err != nil || message.Payload != "hello" {
		t.Fatalf("received %v, %v", message, err)
	}
	if _, err := u.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
		p.Set(t.Context(), "x", 1, 0)
		p.Incr(t.Context(), "x")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	defer server.Resume()
	eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
	if err := u.Get(t.Context(), "x").Err(); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("behind an open breaker the driver's client answers %v", err)
	}
	if _, err := u.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
		return p.Incr(t.Context(), "x").Err()
	}); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("behind an open breaker the driver's pipeline answers %v", err)
	}
}

func TestAuthentication(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	if answer, err := server.Command("ACL SETUSER gate on >p@ss/w:rd ~* &* +@all"); err != nil || answer != "+OK" {
		t.Fatalf("ACL SETUSER answers %q, %v", answer, err)
	}
	t.Setenv("GATE_PW", "p@ss/w:rd")
	c := open(t, &ClientConfig{URL: "redis://gate:{env.GATE_PW}@" + server.Address + "/3", Timeout: 1e10, Probe: patient()})
	if got := ask(t, c, "ACL", "WHOAMI"); got != "gate" {
		t.Fatalf("logged in as %q", got)
	}
	ask(t, c, "SET", "k", "v")

	wrong := open(t, &ClientConfig{URL: "redis://" + server.Address, Username: "gate", Password: "s3cret-wrong"})
	_, err := wrong.Do(t.Context(), "PING")
	eventually(t, "the breaker opens", func() bool { return !wrong.Healthy() })
	if text := fmt.Sprint(err, wrong.Status()); !strings.Contains(text, "WRONGPASS") || strings.Contains(text, "s3cret") {
		t.Fatalf("a wrong password gives %s", text)
	}
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/redis.sock"
	gatehousetest.StartRedis(t, "--unixsocket", path)
	c := open(t, &ClientConfig{URL: "unix://" + path, Timeout: 1e10, Probe: patient()})
	if got := ask(t, c, "PING"); got != "PONG" {
		t.Fatalf("PING answers %q", got)
	}
}

// A server that is not Redis must not be taken for one.
func TestOtherServer(t *testing.T) {
	c := open(t, at(gatehousetest.Listen(t, func(conn net.Conn) { fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") })))
	if _, err := c.Do(t.Context(), "PING"); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
}
