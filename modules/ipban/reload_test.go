// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestBansOutliveReloads(t *testing.T) {
	gatehousetest.NoLeaks(t)
	good := config("", plain)
	broken := map[string]any{"handle": []any{map[string]any{"handler": "nonexistent"}}}
	s := gatehousetest.Start(t, good)
	ban(t, s, someone)
	for name, load := range map[string]struct {
		config   []byte
		accepted bool
	}{
		"the same again":                     {gatehousetest.Spoil(t, good, func(_ map[string]any, r []any) []any { return r }), true},
		"other options":                      {gatehousetest.Spoil(t, config("ip_bans {\n\t\tallow 10.0.0.0/8\n\t\tstore memory\n\t}", plain), func(_ map[string]any, r []any) []any { return r }), true},
		"rejected after ip_ban's Provision":  {gatehousetest.Spoil(t, good, func(_ map[string]any, r []any) []any { return append(r, broken) }), false},
		"rejected before ip_ban's Provision": {gatehousetest.Spoil(t, good, func(_ map[string]any, r []any) []any { return append([]any{broken}, r...) }), false},
		"rejected in ip_ban's Provision": {gatehousetest.Spoil(t, good, func(_ map[string]any, r []any) []any {
			return append(r, map[string]any{"handle": []any{map[string]any{"handler": "ip_ban", "status": 200}}})
		}), false},
		"rejected in the app's Provision": {gatehousetest.Spoil(t, good, func(apps map[string]any, r []any) []any {
			apps["ip_bans"] = map[string]any{"allow": []string{"nonsense"}}
			return r
		}), false},
		"rejected after the start": {gatehousetest.Spoil(t, good, func(apps map[string]any, r []any) []any {
			gatehousetest.AddFailing(apps)
			return r
		}), false},
	} {
		for range 8 { // apps come in random order
			if err := s.ReloadJSON(load.config); (err == nil) != load.accepted {
				t.Fatalf("%s: %v", name, err)
			}
			if resp := as(t, s, someone, "/"); resp.StatusCode != http.StatusForbidden {
				t.Fatalf("%s: the ban is gone: %s", name, resp.Status)
			}
			ban(t, s, neighbor) // the list is still fed
			want(t, s, map[string]int{neighbor: 403})
			lift(t, s, neighbor)
		}
	}
}

// A ban must hold at every moment of a reload.
func TestBansHoldDuringReloads(t *testing.T) {
	s := gatehousetest.Start(t, config("", plain))
	ban(t, s, someone)
	var asked atomic.Int64
	stop, failed := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			resp, err := s.Try(http.MethodGet, s.URL(":8080")+"/", "", "X-Forwarded-For: "+someone)
			if err == nil && resp.StatusCode != http.StatusForbidden {
				failed <- resp.Status
				return
			}
			asked.Add(1)
		}
	}()
	for i := range 20 {
		if err := s.Reload(config(fmt.Sprintf("ip_bans {\n\t\tmax_bans %d\n\t}", i+10), plain)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if status, ok := <-failed; ok || asked.Load() == 0 {
		t.Fatalf("after %d requests a banned client got %q", asked.Load(), status)
	}
}

// A start brings back a long list, the ban of a moment before the stop among it. How long that takes is logged: a figure
// would fail on a machine that has other things to do.
func TestBansOutliveRestarts(t *testing.T) {
	storage := "storage file_system " + t.TempDir()
	const n = 100_000
	t.Run("first process", func(t *testing.T) {
		s := gatehousetest.Start(t, config(storage, plain))
		many := make([]string, n)
		for i := range many {
			many[i] = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		}
		ban(t, s, many...)
		ban(t, s, someone)
	})
	t.Run("second process", func(t *testing.T) {
		began := time.Now()
		s := gatehousetest.Start(t, config(storage, plain))
		for as(t, s, someone, "/").StatusCode != http.StatusForbidden {
			if time.Since(began) > 20*time.Second {
				t.Fatal("the bans are gone")
			}
		}
		t.Logf("%d bans were in force %v after the start began", n+1, time.Since(began))
		want(t, s, map[string]int{"10.0.1.2": 403, "10.1.134.159": 403, neighbor: 200})
	})
}

func TestStartWithADamagedSnapshot(t *testing.T) {
	folder := t.TempDir()
	storage, file := "storage file_system "+folder, filepath.Join(folder, "gatehouse", "bans", "memory")
	t.Run("first process", func(t *testing.T) { ban(t, gatehousetest.Start(t, config(storage, plain)), someone) })
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(string(text), someone, "203.0.113.6", 1)
	if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("second process", func(t *testing.T) {
		s := gatehousetest.Start(t, config(storage, plain))
		want(t, s, map[string]int{someone: 200, "203.0.113.6": 200})
		ban(t, s, neighbor)
		want(t, s, map[string]int{neighbor: 403})
	})
	if kept, err := os.ReadFile(file + ".damaged"); err != nil || string(kept) != damaged {
		t.Errorf("the damaged snapshot was not kept: %q, %v", kept, err)
	}
}

// Every config has the app that its handlers need, and one without them has no list to change.
func TestConfigWithoutBans(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n\trespond ok\n}")
	resp := admin(t, s, http.MethodGet, "/gatehouse/bans", "")
	if resp.StatusCode != http.StatusNotFound || !strings.Contains(resp.Body, "add ip_ban to a site") {
		t.Fatalf("got %s %s", resp.Status, resp.Body)
	}
	if err := s.Reload(config("ip_bans", "respond ok")); err != nil {
		t.Fatal(err)
	}
	if resp := admin(t, s, http.MethodGet, "/gatehouse/bans", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s %s", resp.Status, resp.Body)
	}
}
