// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache/respcachetest"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/ristretto"
)

// purgeFeed is a feed upon a client of its own, as another proxy would have.
func purgeFeed(t testing.TB, config *ClientConfig) *PurgeFeed {
	t.Helper()
	f := new(PurgeFeed)
	f.open(open(t, config))
	return f
}

func TestPurgeFeedConformance(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	respcachetest.RunFeed(t, func(t *testing.T) (here, there respcache.Feed) {
		if answer, err := server.Command("FLUSHALL"); err != nil || answer != "+OK" {
			t.Fatalf("FLUSHALL answers %s, %v", answer, err)
		}
		return purgeFeed(t, at(server.Address)), purgeFeed(t, at(server.Address))
	})
}

// followFrom follows a feed in the background and returns what comes.
func followFrom(t *testing.T, f *PurgeFeed, position string) <-chan respcache.Purge {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	came, ended := make(chan respcache.Purge, 100), make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.Follow(ctx, position, func(purges []respcache.Purge, _ string) {
			for _, p := range purges {
				came <- p
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return came
}

// Whoever cannot know what it missed purges everything.
func TestPurgeFeedLosses(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	f := purgeFeed(t, at(server.Address))
	sendTag := func() {
		t.Helper()
		if err := f.Send(t.Context(), []respcache.Purge{{Kind: respcache.PurgeTag, Value: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, harm := range map[string]func() string{
		"trimmed": func() string { return "XTRIM " + f.stream + " MAXLEN 1" },
		"flushed": func() string { return "FLUSHALL" },
	} {
		sendTag()
		universal, err := f.client.Universal()
		if err != nil {
			t.Fatal(err)
		}
		last, err := f.last(t.Context(), universal)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			sendTag()
		}
		if _, err := server.Command(harm()); err != nil {
			t.Fatal(err)
		}
		sendTag()
		came := followFrom(t, f, strconv.FormatUint(last, 10))
		if p := receive(t, came); p.Kind != respcache.PurgeAll {
			t.Errorf("%s: first came %v", name, p)
		}
		if p := receive(t, came); p.Kind != respcache.PurgeTag {
			t.Errorf("%s: then came %v", name, p)
		}
	}
}

// A purge that another proxy sends holds here, and Redis being away costs purges nothing but their reach.
func TestPurgesThroughTheProxy(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	config := "{\n" + option(server.URL()) + "\n}\n:8080 {\n response_cache\n header Cache-Control max-age=60\n header Cache-Tag x\n respond ok\n}"
	s := gatehousetest.Start(t, config)
	stored := func() bool { return strings.Contains(s.Get("/").Header.Get("Cache-Status"), "; hit") }
	fill := func() {
		t.Helper()
		s.Get("/")
		if !stored() {
			t.Fatalf("not stored: %s", s.Get("/").Header.Get("Cache-Status"))
		}
	}
	fill()
	other := purgeFeed(t, at(server.Address))
	eventually(t, "a purge of another proxy arrives", func() bool {
		if err := other.Send(t.Context(), []respcache.Purge{{Kind: respcache.PurgeTag, Value: "x"}}); err != nil {
			t.Fatal(err)
		}
		return !stored()
	})
	eventually(t, "the purges have all arrived", func() bool {
		for range 3 {
			if !stored() {
				return false
			}
		}
		return true
	})
	server.Kill()
	fill()
	if got := s.Admin(http.MethodPost, "/gatehouse/cache/purge", `{"purges":[{"kind":"tag","value":"x"}]}`); got.StatusCode != http.StatusServiceUnavailable ||
		!strings.Contains(got.Body, "purged here; other proxies have not heard of it") {
		t.Errorf("without Redis: %s %s", got.Status, got.Body)
	}
	if stored() {
		t.Error("without Redis a purge does not hold here")
	}
}
