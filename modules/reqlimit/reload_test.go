// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// Counts outlive reloads, accepted and rejected, under load: exactly the limit passes.
func TestCountsOutliveReloads(t *testing.T) {
	gatehousetest.NoLeaks(t)
	const limit = 4000
	name := policy()
	site := func(options string) string {
		return config("", fmt.Sprintf("request_limit %s {\n\t\twindow %d 1h\n\t\t%s\n\t}\n\trespond ok", name, limit, options))
	}
	same := func(_ map[string]any, r []any) []any { return r }
	broken := map[string]any{"handle": []any{map[string]any{"handler": "nonexistent"}}}
	s := gatehousetest.Start(t, site(""))
	var passed, asked atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// A connection that a reload drops may have been counted or not, so it is not asked again.
				resp, err := s.Try(http.MethodGet, s.URL(":8080"), "", "X-Forwarded-For: 203.0.113.7")
				if err == nil && resp.StatusCode == 200 {
					passed.Add(1)
				}
				asked.Add(1)
			}
		})
	}
	for round := range 4 {
		for what, load := range map[string]struct {
			config   []byte
			accepted bool
		}{
			"the same":      {gatehousetest.Spoil(t, site(""), same), true},
			"other options": {gatehousetest.Spoil(t, site("allow 10.0.0.0/8"), same), true},
			"rejected late": {gatehousetest.Spoil(t, site(""), func(_ map[string]any, r []any) []any { return append(r, broken) }), false},
			"rejected in Provision": {gatehousetest.Spoil(t, site(""), func(_ map[string]any, r []any) []any {
				return append(r, map[string]any{"handle": []any{map[string]any{"handler": "request_limit"}}})
			}), false},
			"rejected in Start": {gatehousetest.Spoil(t, site(""), func(apps map[string]any, r []any) []any {
				gatehousetest.AddFailing(apps)
				return r
			}), false},
		} {
			if err := s.ReloadJSON(load.config); (err == nil) != load.accepted {
				t.Fatalf("round %d, %s: %v", round, what, err)
			}
		}
	}
	gatehousetest.Eventually(t, "the limit is used up", func() bool { return asked.Load() > limit+500 })
	close(stop)
	group.Wait()
	if n := passed.Load(); n > limit || n < limit-200 {
		t.Errorf("%d of %d requests passed over reloads, want %d", n, asked.Load(), limit)
	}
	if resp := as(t, s, "203.0.113.7", "/"); resp.StatusCode != 429 {
		t.Errorf("after the reloads: %s", resp.Status)
	}
}

// A reload that changes a limit keeps what is counted.
func TestReloadWithAnotherLimit(t *testing.T) {
	name := policy()
	site := func(limit int) string {
		return config("", fmt.Sprintf("request_limit %s {\n\t\twindow %d 1h\n\t}\n\trespond ok", name, limit))
	}
	s := gatehousetest.Start(t, site(3))
	if got := statuses(t, s, 4, "203.0.113.7", "/"); got != "200 200 200 429" {
		t.Fatalf("got %s", got)
	}
	if err := s.Reload(site(5)); err != nil {
		t.Fatal(err)
	}
	if got := statuses(t, s, 3, "203.0.113.7", "/"); got != "200 200 429" {
		t.Errorf("after the limit rose from 3 to 5: %s", got)
	}
}

// A policy has few series, whatever its keys, and one that is gone has none.
func TestMetricsAreBounded(t *testing.T) {
	name := policy()
	s := gatehousetest.Start(t, config("", fmt.Sprintf(`request_limit %s {
		window 1 1m
		allow 10.0.0.0/8
		charge_on 200
		limits {header.X-Plan} {
			staff unlimited
		}
	}
	respond ok`, name)))
	for i := range 300 {
		as(t, s, fmt.Sprintf("203.0.%d.%d", i%113, i%250), "/")
	}
	as(t, s, "10.0.0.1", "/")
	as(t, s, "203.0.113.7", "/", "X-Plan: staff")
	body := s.Admin(http.MethodGet, "/metrics", "").Body
	series := 0
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "#") && strings.Contains(line, `policy="`+name+`"`) {
			series++
			t.Log(strings.TrimSpace(line))
		}
	}
	if series == 0 || series > 12 {
		t.Errorf("the policy has %d series, want at most 12", series)
	}
	if err := s.Reload(config("", "respond ok")); err != nil {
		t.Fatal(err)
	}
	if body := s.Admin(http.MethodGet, "/metrics", "").Body; strings.Contains(body, name) {
		t.Error("a policy that is gone has series")
	}
}
