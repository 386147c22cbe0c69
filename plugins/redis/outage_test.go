// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap/zapcore"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// Bounds of real times, which prober_test.go holds exactly, in virtual time.
const (
	soonOpen   = 500 * time.Millisecond
	soonClosed = time.Second
)

// load keeps n goroutines sending until stop is called, which returns the errors they got.
func load(t *testing.T, c *Client, n int) (stop func() []error) {
	t.Helper()
	var mu sync.Mutex
	var errs []error
	var over atomic.Bool
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			for !over.Load() {
				if _, err := c.Do(t.Context(), "INCR", "n"); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					time.Sleep(time.Millisecond) // else refused requests starve the servers of this machine
				}
			}
		})
	}
	return func() []error {
		over.Store(true)
		group.Wait()
		return errs
	}
}

func TestStallOpensTheBreaker(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, strict(server.Address))
	_, _ = c.Do(t.Context(), "PING")
	eventually(t, "Redis is found up", func() bool { return c.Status().State == StateUp })
	var opened, recovered []time.Duration
	for range outages(7) {
		stop := load(t, c, 8)
		time.Sleep(50 * time.Millisecond) // the load runs
		server.Pause()
		opened = append(opened, eventually(t, "the breaker opens", func() bool { return !c.Healthy() }))
		server.Resume()
		recovered = append(recovered, eventually(t, "the breaker closes", c.Healthy))
		for _, err := range stop() {
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("a request got %v", err)
			}
		}
	}
	slices.Sort(opened)
	slices.Sort(recovered)
	atMost(t, "opening the breaker, at best,", opened[0], 200*time.Millisecond)
	atMost(t, "opening the breaker, at worst,", opened[len(opened)-1], soonOpen)
	atMost(t, "closing it, at worst,", recovered[len(recovered)-1], soonClosed)
}

// The control: what the harness calls a stall does hold a client without a breaker up.
func TestStallBlocksTheDriverAlone(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	plain := goredis.NewClient(&goredis.Options{Addr: server.Address})
	defer plain.Close()
	if err := plain.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	done := make(chan error, 1)
	go func() { done <- plain.Ping(t.Context()).Err() }()
	select {
	case err := <-done:
		t.Fatalf("the stalled server answered: %v", err)
	case <-time.After(2 * time.Second):
	}
	server.Resume()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Requests that wait when the breaker opens are released by it, not by their timeout.
func TestOpeningReleasesThoseWhoWait(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{URL: server.URL(), Timeout: 6e10, Probe: prompt()})
	ask(t, c, "PING")
	time.Sleep(50 * time.Millisecond) // the prober runs
	server.Pause()
	defer server.Resume()
	var group sync.WaitGroup
	begun := time.Now()
	for range 200 {
		group.Go(func() {
			if _, err := c.Do(t.Context(), "PING"); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	took := time.Since(begun)
	atMost(t, "releasing 200 requests", took, soonOpen)
	if took > 30*time.Second { // half of their timeout
		t.Errorf("200 requests waited %v", took)
	}
	begun = time.Now()
	for range 1000 {
		if _, err := c.Do(t.Context(), "PING"); err != ErrUnavailable {
			t.Fatalf("got %v", err)
		}
	}
	atMost(t, "a request behind the open breaker", time.Since(begun)/1000, 20*time.Microsecond)
}

func TestBurstIsNoOutage(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{URL: server.URL(), Timeout: caddy.Duration(within)}) // of requests; the prober has its defaults
	ask(t, c, "PING")
	attempts(t, func() error {
		opens := c.Status().Opens
		begin := make(chan struct{})
		var group sync.WaitGroup
		var failed atomic.Int32
		for i := range 2000 {
			group.Go(func() {
				<-begin
				if _, err := c.Do(t.Context(), "INCR", fmt.Sprint("k", i)); err != nil {
					failed.Add(1)
				}
			})
		}
		begun := time.Now()
		close(begin)
		group.Wait()
		t.Logf("2000 requests at once took %v", time.Since(begun))
		if s := c.Status(); s.Opens != opens || failed.Load() != 0 {
			return fmt.Errorf("%d of 2000 requests failed, status %+v", failed.Load(), s)
		}
		return nil
	})
}

func TestKillAndRestart(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	logger, logs := observed()
	c := openLogged(t, strict(server.Address), logger)
	_, _ = c.Do(t.Context(), "PING")
	for range 3 {
		eventually(t, "Redis is found up", func() bool { return c.Status().State == StateUp })
		stop := load(t, c, 8)
		time.Sleep(20 * time.Millisecond) // the load runs
		server.Kill()
		opened := eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
		server.Start()
		answered := eventually(t, "a request is answered", func() bool { _, err := c.Do(t.Context(), "PING"); return err == nil })
		atMost(t, "opening the breaker", opened, soonOpen)
		atMost(t, "answering a request after the server does", answered, soonClosed)
		stop()
	}
	outages := int(c.Status().Opens) // three, unless the machine was too busy for Redis
	if n := logs.FilterLevelExact(zapcore.WarnLevel).Len(); outages < 3 || n != outages {
		t.Errorf("%d outages are logged %d times: %v", outages, n, logs.All())
	}
	if n := logs.FilterMessage("redis is back").Len(); n < outages-1 || n > outages { // the last may be over by now or not
		t.Errorf("%d recoveries are logged %d times", outages, n)
	}
}

// Dropped connections are no outage: a server closes idle ones, and so do firewalls.
func TestDroppedConnectionsAreNoOutage(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	ask(t, c, "PING")
	for range 20 {
		if _, err := server.Command("CLIENT KILL TYPE normal"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // past some probes
		ask(t, c, "PING")
	}
	if s := c.Status(); s.Opens != 0 {
		t.Fatalf("dropped connections opened the breaker: %+v", s)
	}
}

func TestSlowCommandOpensAndItsEndCloses(t *testing.T) {
	server := gatehousetest.StartRedis(t, "--enable-debug-command", "yes")
	c := open(t, strict(server.Address))
	ask(t, c, "PING")
	go func() { _, _ = server.Command("DEBUG SLEEP 1.2") }()
	eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
	eventually(t, "the breaker closes", c.Healthy)
	ask(t, c, "PING")
}

// A proxy that is stopped or starved itself must not take that for an outage of Redis: here it sleeps through the moment at
// which the answer to an outstanding probe arrives, and wakes with the probe's deadline long past.
func TestOwnStallIsNoOutage(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{URL: server.URL(), Timeout: 1e9, Probe: &ProbeConfig{Timeout: 3e8}})
	process := regexp.MustCompile(`process_id:(\d+)`).FindStringSubmatch(ask(t, c, "INFO", "server"))[1]
	attempts(t, func() error { // on a busy machine it may be Redis that stands still for too long
		before := c.Status().Opens
		for range 2 {
			eventually(t, "the breaker is closed", c.Healthy)
			good := func() uint64 { s := c.Status(); return s.Pings - s.FailedPings }
			pings := good()
			eventually(t, "a probe is answered", func() bool { return good() > pings })
			server.Pause()
			time.Sleep(40 * time.Millisecond) // a probe is sent, and not overdue
			script := `kill -STOP $PPID; kill -CONT ` + process + `; sleep 0.7; kill -CONT $PPID`
			begun := time.Now()
			err := exec.Command("sh", "-c", script).Run()
			if took := time.Since(begun); err != nil || took < 700*time.Millisecond {
				t.Fatalf("this process was not stopped: %v after %v", err, took)
			}
			if _, err := c.Do(t.Context(), "PING"); err != nil {
				return err
			}
		}
		if s := c.Status(); s.Opens != before {
			return fmt.Errorf("a stall of the proxy opened the breaker: %+v", s)
		}
		return nil
	})
}

// The driver's pool, left alone, goes on failing for up to a second after the server is back.
func TestPoolForgetsFailedDials(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, &ClientConfig{URL: server.URL(), Pool: &PoolConfig{Size: 1}, Probe: &ProbeConfig{Interval: 2e8, Timeout: 2e9}})
	u, err := c.Universal()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := u.Ping(t.Context()).Err(); err == nil {
		t.Fatal("a dead server answers")
	}
	eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
	server.Start()
	eventually(t, "the breaker closes", c.Healthy)
	if err := u.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("the server is back, and the pool says %v", err)
	}
}
