// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// discard is a client's writer whose header is there already, as net/http's is.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// kibibyte answers with 1 KiB and the header fields of an ordinary application.
func kibibyte(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Cache-Control"] = []string{"max-age=600"}
	h["Content-Type"] = []string{"text/html; charset=utf-8"}
	h["Content-Length"] = []string{"1024"}
	h["Etag"] = []string{`"33a64df551425fcc55e4d42a148795d9f25f89d4"`}
	h["Last-Modified"] = []string{"Sun, 01 Nov 2026 12:00:00 GMT"}
	h["Date"] = begun
	_, _ = w.Write(kibi)
}

var (
	kibi  = []byte(strings.Repeat("x", 1024))
	begun = []string{stamp(time.Now())}
)

// hitOnce is a hit of 1 KiB in the handler alone.
func hitOnce(t testing.TB) func() {
	d := newDirect(t, kibibyte)
	d.get("http://example.com/page?id=1")
	if !strings.Contains(d.get("http://example.com/page?id=1").Header().Get("Cache-Status"), "; hit") {
		t.Fatal("nothing is stored")
	}
	w := &discard{header: http.Header{"Server": {"Caddy"}}}
	r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://example.com/page?id=1", "203.0.113.7:1")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	return func() {
		clear(w.header)
		if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	hit := hitOnce(b)
	b.ReportAllocs()
	for b.Loop() {
		hit()
	}
}

// benchmarkCold is requests that nothing stored answers, each for another URL, in the handler alone.
func benchmarkCold(b *testing.B, next http.HandlerFunc) {
	d := newDirect(b, next)
	w := &discard{header: http.Header{"Server": {"Caddy"}}}
	r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://example.com/", "203.0.113.7:1")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		clear(w.header)
		r.URL.Path = "/" + strconv.Itoa(i)
		if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMiss is answers of 1 KiB that are stored.
func BenchmarkMiss(b *testing.B) { benchmarkCold(b, kibibyte) }

// BenchmarkPass is answers of 1 KiB that are not.
func BenchmarkPass(b *testing.B) {
	benchmarkCold(b, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Cache-Control"] = []string{"no-store"}
		h["Content-Type"] = []string{"text/html; charset=utf-8"}
		_, _ = w.Write(kibi)
	})
}

// BenchmarkNoCache is what the benchmarks of misses cost without a cache.
func BenchmarkNoCache(b *testing.B) {
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		kibibyte(w, nil)
	}
}

// A hit allocates little: what it allocates is collected at the cost of every request.
func TestHitAllocations(t *testing.T) {
	hit := hitOnce(t)
	n := testing.AllocsPerRun(1000, hit)
	t.Logf("%g allocations", n)
	if n > 8 {
		t.Errorf("%g allocations, want at most 8", n)
	}
}
