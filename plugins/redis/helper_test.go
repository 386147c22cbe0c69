// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// within bounds what must happen soon, on a machine that may be busy.
const within = 20 * time.Second

// measuring says that figures are measured, with GATEHOUSE_FIGURES=1 on a machine that does nothing else. Elsewhere no test
// fails for a time that something took.
func measuring() bool { return os.Getenv("GATEHOUSE_FIGURES") != "" }

// atMost prints what something took; too long is an error where figures are measured.
func atMost(t testing.TB, what string, took, limit time.Duration) {
	t.Helper()
	t.Logf("%s took %v, of %v", what, took, limit)
	if measuring() && took > limit {
		t.Errorf("%s took %v, more than %v", what, took, limit)
	}
}

// patient is a probe that a busy machine does not let time out.
func patient() *ProbeConfig { return &ProbeConfig{Timeout: caddy.Duration(2 * time.Second)} }

// prompt is the probe of the defaults where figures are measured, and a more patient one elsewhere.
func prompt() *ProbeConfig {
	if measuring() {
		return nil
	}
	return &ProbeConfig{Timeout: caddy.Duration(600 * time.Millisecond)}
}

// open makes a client of config that is closed when the test ends.
func open(t testing.TB, config *ClientConfig) *Client {
	t.Helper()
	return openLogged(t, config, zap.NewNop())
}

func openLogged(t testing.TB, config *ClientConfig, logger *zap.Logger) *Client {
	t.Helper()
	s, err := config.resolve("test", caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(s, logger)
	t.Cleanup(func() {
		if err := c.Destruct(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return c
}

// at configures a patient client, for tests of anything but timeouts: the machine may be busy.
func at(address string) *ClientConfig {
	return &ClientConfig{
		URL: "redis://" + address, Timeout: caddy.Duration(within), Probe: patient(),
	}
}

// strict configures a client with the defaults, for tests of these: where figures are measured.
func strict(address string) *ClientConfig {
	return &ClientConfig{URL: "redis://" + address, Timeout: caddy.Duration(within), Probe: prompt()}
}

// attempts runs a test of something that a busy machine may spoil and cannot bring about, until it succeeds, three times
// at most.
func attempts(t *testing.T, try func() error) {
	t.Helper()
	for i := 1; ; i++ {
		err := try()
		if err == nil {
			return
		}
		if i == 3 {
			t.Fatal(err)
		}
		t.Logf("attempt %d: %v", i, err)
	}
}

// ask sends a command that must be answered.
func ask(t testing.TB, c *Client, args ...any) string {
	t.Helper()
	cmd, err := c.Do(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return fmt.Sprint(cmd.Val())
}

// eventually waits for a condition, closely, and returns how long that took.
func eventually(t testing.TB, what string, done func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !done() {
		if time.Since(begun) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(500 * time.Microsecond)
	}
	return time.Since(begun)
}

func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

// poolOf is the driver's own client with a connection for each of 64 goroutines.
func poolOf(t testing.TB, address string) *goredis.Client {
	t.Helper()
	plain := goredis.NewClient(&goredis.Options{Addr: address, Protocol: 2, PoolSize: 64})
	t.Cleanup(func() { _ = plain.Close() })
	return plain
}

// calls is how many scripts the server has run.
func calls(t testing.TB, server *gatehousetest.Redis) (n int64) {
	t.Helper()
	plain := poolOf(t, server.Address)
	info, err := plain.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		var one int64
		if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d,", &one); err == nil {
			n += one
		}
	}
	return n
}

// sized returns how often to do something: n times or, under the race detector, less often.
func sized(n, underRace int) int {
	if raced {
		return underRace
	}
	return n
}

// outages returns how many outages to bring about, which take long: n times where figures are measured, else twice.
func outages(n int) int {
	if measuring() {
		return n
	}
	return 2
}
