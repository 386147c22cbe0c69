// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// figure is how much a test does, or how exactly it looks: full where the figures of the documentation are measured, with
// GATEHOUSE_FIGURES=1 on an idle machine, and less everywhere else, where others use the machine too.
func figure[T any](t testing.TB, full, less T) T {
	t.Helper()
	if os.Getenv("GATEHOUSE_FIGURES") != "" {
		return full
	}
	t.Logf("%v instead of %v: the short form, without GATEHOUSE_FIGURES=1", less, full)
	return less
}

// keeps asserts a bound of a time or a ratio, which a busy machine may spoil: it is always printed, and only an idle machine has to keep to it.
func keeps(t testing.TB, ok bool, format string, args ...any) {
	t.Helper()
	t.Logf(format, args...)
	if !ok && os.Getenv("GATEHOUSE_FIGURES") != "" {
		t.Errorf(format, args...)
	}
}

// medianFirst is the median time to the first byte of requests to different paths, one after another.
func medianFirst(t testing.TB, url string, n int) time.Duration {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: within}
	results := make([]timing, n)
	for i := range results {
		if results[i] = fetch(t.Context(), client, fmt.Sprintf("%s/%d", url, i)); results[i].err != nil {
			t.Fatal(results[i].err)
		}
	}
	return percentile(results, 50, first)
}

// A cache in the way costs the first byte of what is not in it nothing that could be noticed.
func TestFirstByteOfMisses(t *testing.T) {
	for name, lines := range map[string][]string{
		"a miss": {"Cache-Control: max-age=60"}, "no-store": {"Cache-Control: no-store"}, "events": {"Content-Type: text/event-stream"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				header("first", lines...)(w, r)
				_ = http.NewResponseController(w).Flush()
				time.Sleep(5 * time.Millisecond)
				_, _ = io.WriteString(w, "second")
			})
			s := gatehousetest.Start(t, ":8080 {\nresponse_cache\nreverse_proxy "+o.address()+"\n}\n:8081 {\nreverse_proxy "+o.address()+"\n}")
			requests := figure(t, 50, 5)
			plain, behind := medianFirst(t, s.URL(":8081"), requests), medianFirst(t, s.URL(":8080"), requests)
			keeps(t, behind <= plain+2*time.Millisecond, "%s: first byte, median of %d: %v with a cache, %v without", name, requests, behind, plain)
		})
	}
}

// Once a purge has been answered, nothing that it named is used, however many ask and fill meanwhile.
func TestPurgeRace(t *testing.T) {
	racing := figure[int64](t, 1_000_000, 200_000)
	var version atomic.Int64
	h := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
		v := version.Load() // what the application holds when it begins to work
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Cache-Tag", "x")
		w.Header().Set("ETag", fmt.Sprint(`"`, v, `"`))
		w.WriteHeader(http.StatusOK)
	})
	purges := []func(){
		func() { h.purge(t, "tag", "x") }, func() { h.purge(t, "url", "http://example.com/") }, func() { h.purge(t, "host", "example.com") },
		func() { h.purge(t, "prefix", "http://example.com/") }, func() { h.purge(t, "all", "") },
	}
	var floor, stale, done atomic.Int64 // floor: no answer to a later request may be older
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for done.Add(1) <= racing {
				least := floor.Load()
				w := h.get("http://example.com/")
				var got int64
				if _, err := fmt.Sscanf(w.Header().Get("ETag"), `"%d"`, &got); err != nil {
					t.Errorf("ETag %q: %v", w.Header().Get("ETag"), err)
					return
				}
				if got < least {
					stale.Add(1)
				}
			}
		})
	}
	count := 0
	for done.Load() < racing {
		v := version.Add(1)
		purges[count%len(purges)]()
		floor.Store(v)
		count++
		time.Sleep(rand.N(200 * time.Microsecond))
	}
	group.Wait()
	t.Logf("%d requests, %d purges, %d fills, %d stale", racing, count, h.asked.Load(), stale.Load())
	if stale.Load() > 0 || count < 100 {
		t.Errorf("%d stale answers of %d after %d purges", stale.Load(), racing, count)
	}
}

// A tag with very many answers is purged in one step.
func TestPurgeOfALargeTag(t *testing.T) {
	objects := figure(t, 100_000, 10_000)
	h := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Cache-Tag", "x")
		w.WriteHeader(http.StatusOK)
	})
	for i := range objects {
		h.get(fmt.Sprint("http://example.com/", i))
	}
	if !strings.Contains(h.get(fmt.Sprint("http://example.com/", objects-1)).Header().Get("Cache-Status"), "; hit") {
		t.Fatal("nothing is stored")
	}
	took := time.Hour
	for range 3 { // the collector may come between
		begun := time.Now()
		h.purge(t, "tag", "x")
		took = min(took, time.Since(begun))
	}
	keeps(t, took <= time.Millisecond, "a tag of %d answers: %v", objects, took)
	for _, i := range []int{0, objects / 2, objects - 1} {
		if strings.Contains(h.get(fmt.Sprint("http://example.com/", i)).Header().Get("Cache-Status"), "; hit") {
			t.Errorf("answer %d was found", i)
		}
	}
}

// A stale answer that is being refreshed costs about what a fresh one does, and every key is refreshed once.
func TestStaleHitsAreQuick(t *testing.T) {
	const keys = 20
	requests := figure(t, 4000, 1000)
	var refreshes atomic.Int64
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		if strings.HasPrefix(r.URL.Path, "/stale") {
			w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=600")
			w.Header().Set("Age", "20")
		}
		_, _ = io.WriteString(w, "body")
	})
	s := front(t, o)
	for i := range keys {
		s.Get(fmt.Sprint("/stale/", i))
		s.Get(fmt.Sprint("/fresh/", i))
	}
	release := make(chan struct{})
	o.answer(func(w http.ResponseWriter, _ *http.Request) {
		refreshes.Add(1)
		<-release
		w.Header().Set("Cache-Control", "max-age=600")
	})
	p99 := func(kind string) time.Duration {
		took := make([]time.Duration, requests)
		for i := range took {
			begun := time.Now()
			if resp := s.Get(fmt.Sprint(kind, i%keys)); resp.Body != "body" {
				t.Fatalf("got %q", resp.Body)
			}
			took[i] = time.Since(begun)
		}
		slices.Sort(took)
		return took[requests*99/100]
	}
	hit, stale := p99("/fresh/"), p99("/stale/") // which the origin answers no refresh of: who waits for one waits for ever
	keeps(t, stale <= 2*hit, "p99 of %d hits: fresh %v, stale %v", requests, hit, stale)
	eventually(t, "every key is being refreshed", func() bool { return refreshes.Load() >= keys })
	if n := refreshes.Load(); n != keys {
		t.Errorf("%d refreshes of %d keys", n, keys)
	}
	close(release)
}

// Reloads under load cost nothing: no request, no answer that was stored, no body.
func TestReloadsUnderLoad(t *testing.T) {
	const keys = 50
	reloads := figure(t, 300, 60)
	body := strings.Repeat("0123456789abcdef", 1024)
	o := newOrigin(t, header(body, "Cache-Control: max-age=600"))
	s := front(t, o)
	for i := range keys {
		s.Get(fmt.Sprint("/", i))
	}
	warm := o.hits.Load()
	url := s.URL(":8080")
	ctx, cancel := context.WithCancel(t.Context())
	var asked, failed, wrong atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				resp, err := tryAgain(s, fmt.Sprintf("%s/%d", url, rand.IntN(keys)))
				asked.Add(1)
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
				} else if resp.Body != body {
					wrong.Add(1)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for i := range reloads {
		text := strings.Replace(config(o), "response_cache {", fmt.Sprintf("response_cache %dMiB {", 64+i%3*64), 1)
		if err := s.Reload(text); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	group.Wait()
	ratio := 1 - float64(o.hits.Load()-warm)/float64(asked.Load())
	t.Logf("%d reloads, %d requests, %d failed, %d wrong, hit ratio %.2f %%", reloads, asked.Load(), failed.Load(), wrong.Load(), 100*ratio)
	if failed.Load() > 0 || wrong.Load() > 0 || ratio < 0.99 {
		t.Errorf("%d failed, %d wrong, hit ratio %.2f %%", failed.Load(), wrong.Load(), 100*ratio)
	}
}

// tryAgain asks again if the connection was refused or cut before an answer: a reload replaces listeners, and a client
// cannot tell an idle connection from one that is being closed.
func tryAgain(s *gatehousetest.Server, url string) (resp gatehousetest.Response, err error) {
	for range 5 {
		if resp, err = s.Try(http.MethodGet, url, ""); err == nil || strings.Contains(err.Error(), "reading the body") {
			return resp, err
		}
	}
	return resp, err
}

// A reload while an answer comes in cuts neither it nor those who wait.
func TestReloadDuringFill(t *testing.T) {
	g := newGated()
	o := newOrigin(t, g.serve("Cache-Control: max-age=60"))
	s := front(t, o)
	url := s.URL(":8080") + "/"
	done := make(chan []timing, 1)
	go func() { done <- crowd(t, 20, url) }()
	followed(t, 19)
	g.open(1)
	if err := s.Reload(config(o, "grace 1m")); err != nil {
		t.Fatal(err)
	}
	g.open(len(g.steps))
	for _, r := range <-done {
		if r.body != whole() {
			t.Errorf("a client got %d bytes", len(r.body))
		}
	}
	if resp := s.Get("/"); !cached(resp) || resp.Body != whole() {
		t.Errorf("afterwards: %d bytes, %s", len(resp.Body), resp.Header.Get("Cache-Status"))
	}
}
