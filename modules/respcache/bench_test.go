// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
	h.Set("Cache-Control", "max-age=600")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("ETag", `"33a64df551425fcc55e4d42a148795d9f25f89d4"`)
	h.Set("Last-Modified", "Sun, 01 Nov 2026 12:00:00 GMT")
	_, _ = w.Write([]byte(strings.Repeat("x", 1024)))
}

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

func BenchmarkMiss(b *testing.B) {
	d := newDirect(b, kibibyte)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		clear(w.header)
		r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://example.com/"+strings.Repeat("a", i%500), "203.0.113.7:1")
		r.Header.Set("Cache-Control", "no-cache")
		if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
			b.Fatal(err)
		}
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
