// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// What cannot be shared is remembered: all ask the origin at once, which answers none before it has heard of all.
func TestUncacheableAsksAtOnce(t *testing.T) {
	const clients = 20
	var waiting atomic.Int64
	all := make(chan struct{})
	o := newOrigin(t, header("body", "Cache-Control: no-store"))
	s := front(t, o)
	s.Get("/")
	o.answer(func(w http.ResponseWriter, r *http.Request) {
		if waiting.Add(1) == clients {
			close(all)
		}
		select {
		case <-all:
		case <-time.After(within):
			t.Errorf("only %d of %d requests reached the origin", waiting.Load(), clients)
		}
		header("body", "Cache-Control: no-store")(w, r)
	})
	crowd(t, clients, s.URL(":8080")+"/")
}

// How long that takes, beside the same crowd without a cache and without a proxy: one after another, in turns.
func TestUncacheableIsNotQueued(t *testing.T) {
	o := newOrigin(t, slow("Cache-Control: no-store"))
	s := gatehousetest.Start(t, ":8080 {\nresponse_cache\nreverse_proxy "+o.address()+"\n}\n:8081 {\nreverse_proxy "+o.address()+"\n}")
	s.Get("/")
	ways := [...]string{"behind the cache", "behind reverse_proxy", "straight"}
	urls := [...]string{s.URL(":8080") + "/", s.URL(":8081") + "/", o.URL + "/"}
	var all [len(ways)][]timing
	for range figure(t, 5, 1) {
		for i, url := range urls {
			before := o.hits.Load()
			results := crowd(t, figure(t, 100, 20), url)
			if hits := o.hits.Load() - before; hits != int64(len(results)) {
				t.Fatalf("%s: %d requests of %d reached the origin", ways[i], hits, len(results))
			}
			t.Logf("%s: first byte: p50 %v, p99 %v", ways[i], percentile(results, 50, first), percentile(results, 99, first))
			all[i] = append(all[i], results...)
		}
	}
	p50 := percentile(all[0], 50, first)
	keeps(t, p50 <= 320*time.Millisecond, "first byte, p50 of all: %v behind the cache, %v behind reverse_proxy, %v straight (the origin takes 300 ms)",
		p50, percentile(all[1], 50, first), percentile(all[2], 50, first))
}

// A crowd that nobody knows anything of yet waits once, for the header of the first answer; one with credentials does not.
func TestUncacheableColdCrowd(t *testing.T) {
	o := newOrigin(t, slow("Cache-Control: no-store"))
	s := front(t, o)
	for _, way := range []struct {
		path  string
		lines []string
	}{{"/cold", nil}, {"/credentials", []string{"Authorization: Bearer x"}}} {
		before := o.hits.Load()
		results := crowd(t, figure(t, 100, 20), s.URL(":8080")+way.path, way.lines...)
		if hits := o.hits.Load() - before; hits != int64(len(results)) {
			t.Fatalf("%d requests of %d reached the origin", hits, len(results))
		}
		p50, p99 := percentile(results, 50, first), percentile(results, 99, first)
		keeps(t, p50 <= 320*time.Millisecond, "%s: first byte: p50 %v, p99 %v (the origin takes 300 ms)", way.path, p50, p99)
	}
}
