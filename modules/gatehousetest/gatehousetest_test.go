// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestServerKeepsItsConfigWhenAReloadIsRejected(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n respond one\n}\n:8081 {\n respond other\n}")
	if got := s.Get("/").Body; got != "one" {
		t.Fatalf("got %q", got)
	}
	if got := s.Do(http.MethodGet, s.URL(":8081"), "").Body; got != "other" {
		t.Fatalf("got %q", got)
	}
	before := s.URL(":8080")
	for _, broken := range []string{
		":8080 {\n no_such_directive\n}",
		":8080 {\n tls internal\n reverse_proxy {\n lb_policy header X {\n fallback cookie\n}\n health_uri http://[::1\n}\n}",
	} {
		if err := s.Reload(broken); err == nil {
			t.Fatalf("%q was loaded", broken)
		}
		if got := s.Get("/").Body; got != "one" {
			t.Fatalf("after a rejected reload: %q", got)
		}
	}
	if err := s.Reload(":8080 {\n respond two\n}"); err != nil {
		t.Fatal(err)
	}
	if got := s.Get("/").Body; got != "two" || s.URL(":8080") != before {
		t.Fatalf("got %q from %s, before %s", got, s.URL(":8080"), before)
	}
	if got := s.Admin(http.MethodGet, "/config/apps/http/servers", ""); got.StatusCode != http.StatusOK {
		t.Fatalf("admin answers %d", got.StatusCode)
	}
}

func TestRedisCanBeKilledPausedAndRestarted(t *testing.T) {
	r := gatehousetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	if answer, err := r.Command("SET k v"); err != nil || answer != "+OK" {
		t.Fatalf("%q, %v", answer, err)
	}
	r.Kill()
	if answer, err := r.Command("PING"); err == nil {
		t.Fatalf("a killed server answered %q", answer)
	}
	r.Start()
	if answer, err := r.Command("EXISTS k"); err != nil || answer != ":1" {
		t.Fatalf("after the restart: %q, %v", answer, err)
	}
	r.Pause()
	done := make(chan string, 1)
	go func() { answer, err := r.Command("PING"); done <- answer + errText(err) }()
	select {
	case answer := <-done:
		t.Fatalf("a paused server answered %q", answer)
	case <-time.After(200 * time.Millisecond):
	}
	r.Resume()
	if answer := <-done; answer != "+PONG" {
		t.Fatalf("after Resume: %q", answer)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAdvance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Bool
		time.AfterFunc(time.Hour, func() { fired.Store(true) })
		gatehousetest.Advance(59 * time.Minute)
		if fired.Load() {
			t.Fatal("fired early")
		}
		gatehousetest.Advance(time.Minute)
		if !fired.Load() {
			t.Fatal("did not fire")
		}
	})
}

// recorder is a testing.T whose failures are wanted.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Error(...any)          { r.failed = true }

func TestNoLeaksFindsALeak(t *testing.T) {
	r := &recorder{TB: t}
	stop := make(chan struct{})
	t.Run("leaking", func(t *testing.T) {
		r.TB = t
		gatehousetest.NoLeaks(r) // registered on t, reports to r
		go func() { <-stop }()
	})
	close(stop)
	if !r.failed {
		t.Fatal("a goroutine that was left over went unseen")
	}
}

func TestFixtures(t *testing.T) {
	gatehousetest.Fixtures(t, "testdata/*.caddyfiletest")
}
