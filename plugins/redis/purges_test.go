// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
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

// In a real cluster of three the feed does what it does on one server.
func TestPurgeFeedConformanceCluster(t *testing.T) {
	cluster := gatehousetest.StartRedisCluster(t)
	respcachetest.RunFeed(t, func(t *testing.T) (here, there respcache.Feed) {
		config := at("")
		config.URL, config.Cluster, config.Prefix = "", cluster.Addresses()[:1], strings.ReplaceAll(t.Name(), "/", "_")
		return purgeFeed(t, config), purgeFeed(t, config)
	})
}

// wire is a way to a server that can be cut.
type wire struct {
	net.Listener
	to    string
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: to}
	t.Cleanup(func() {
		w.set(true)
		_ = l.Close()
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			w.carry(client)
		}
	}()
	return w
}

// carry joins a client to the server.
func (w *wire) carry(client net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	server, err := net.Dial("tcp", w.to)
	if err != nil || w.cut {
		_ = client.Close()
		return
	}
	w.conns = append(w.conns, client, server)
	go func() { _, _ = io.Copy(server, client) }()
	go func() { _, _ = io.Copy(client, server) }()
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// What a proxy missed while it was cut off from Redis is purged once it is back, and nothing else is.
func TestPurgesAreCaughtUpWith(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	w := newWire(t, server.Address)
	s := gatehousetest.Start(t, "{\n"+option("redis://"+w.Addr().String()+"/0")+"\n}\n:8080 {\n response_cache\n header Cache-Control max-age=60\n"+
		" header Cache-Tag {path}\n respond ok\n}")
	stored := func(path string) bool { return strings.Contains(s.Get(path).Header.Get("Cache-Status"), "; hit") }
	other := purgeFeed(t, at(server.Address))
	send := func(tag string) {
		t.Helper()
		if err := other.Send(t.Context(), []respcache.Purge{{Kind: respcache.PurgeTag, Value: tag}}); err != nil {
			t.Fatal(err)
		}
	}
	s.Get("/heard")
	eventually(t, "the feed is up", func() bool {
		send("/heard")
		return !stored("/heard")
	})
	for _, path := range []string{"/missed", "/kept"} {
		s.Get(path)
		if !stored(path) {
			t.Fatalf("%s is not stored", path)
		}
	}
	w.set(true)
	send("/missed")
	if !stored("/missed") {
		t.Fatal("the purge came although the wire is cut: nothing is tested")
	}
	w.set(false)
	eventually(t, "the purge is caught up with", func() bool { return !stored("/missed") })
	if !stored("/kept") {
		t.Error("what nobody purged is gone")
	}
}
