// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

func isHit(w *httptest.ResponseRecorder) bool {
	return strings.Contains(w.Header().Get("Cache-Status"), "; hit")
}

// HTTP/2 and 3 let any bytes pass as a host. One with a slash is no other host's path.
func TestHostWithAPath(t *testing.T) {
	d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = w.Write([]byte(r.Host))
	})
	for i, host := range []string{"victim.example/%d", "victim.example/%d?", "victim.example/%d#", "user@victim.example/%d"} {
		r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://attacker.example/page", "203.0.113.7:1")
		r.Host = fmt.Sprintf(host, i)
		if err := d.handler.ServeHTTP(httptest.NewRecorder(), r, d.next); err != nil {
			t.Fatal(err)
		}
		if got := d.get(fmt.Sprintf("http://victim.example/%d/page", i)); isHit(got) {
			t.Errorf("host %q planted %q", r.Host, got.Body)
		}
	}
}

// Fields by which frameworks take a request for another one plant nothing.
func TestOverrides(t *testing.T) {
	d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = fmt.Fprint(w, r.Header)
	})
	for i, field := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"} {
		url := fmt.Sprint("http://example.com/", i)
		d.get(url, field, "/evil")
		if got := d.get(url); isHit(got) {
			t.Errorf("%s planted %q", field, got.Body)
		}
	}
}

// Some applications take a semicolon for a separator: what stands behind one in an ignored parameter may matter to them.
func TestHiddenParameters(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = fmt.Fprint(w, r.URL.RawQuery)
	})
	s := front(t, o, "query {\n\t\t\tignore utm_*\n\t\t}")
	s.Get("/?a=1&utm_x=1;a=evil")
	if resp := s.Get("/?a=1"); cached(resp) {
		t.Errorf("a hidden parameter planted %q", resp.Body)
	}
}

// What one client makes of its own request does not keep others from sharing the next answer.
func TestCollapsingIsNotTakenAway(t *testing.T) {
	for name, lines := range map[string][]string{
		"no-store": {"Cache-Control: no-store"}, "credentials": {"Authorization: Bearer x"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, slow("Cache-Control: max-age=60"))
			s := front(t, o)
			s.Get("/", lines...)
			before := o.hits.Load()
			crowd(t, 20, s.URL(":8080")+"/")
			if hits := o.hits.Load() - before; hits != 1 {
				t.Errorf("%d requests reached the origin, want 1", hits)
			}
		})
	}
}

// halfway is a client's writer that fails and yet goes on to read what it was given, as that of HTTP/2 may.
type halfway struct {
	discard
	given []byte
}

func (h *halfway) Write(p []byte) (int, error) {
	h.given = p
	return 0, errors.New("the stream is closed")
}

// A body stays whole for a while after a write of it failed, also if the store lets go of it meanwhile.
func TestBodyAfterAFailedWrite(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 10_000)
	d := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = w.Write(content)
	})
	respcache.PoisonForTest(d.handler)
	const url = "http://example.com/"
	d.get(url)
	w := &halfway{discard: discard{header: http.Header{}}}
	if err := d.handler.ServeHTTP(w, gatehousetest.Request(w, http.MethodGet, url, "203.0.113.7:1"), d.next); err != nil {
		t.Fatal(err)
	}
	post := httptest.NewRecorder() // which deletes what is stored at once
	if err := d.handler.ServeHTTP(post, gatehousetest.Request(post, http.MethodPost, url, "203.0.113.7:1"), d.next); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(w.given, []byte{0xDD}) {
		t.Error("the memory of a body was used again while a client may have read it")
	}
	if isHit(d.get(url)) || len(w.given) == 0 {
		t.Fatal("the answer was not let go of, or never written: nothing was tested")
	}
}

// RFC 9111 section 3.2: a 304 updates the stored header, and with it what selects the answer and what it is purged by.
func TestFresheningChangesSelection(t *testing.T) {
	var again bool
	d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		if !again {
			w.Header().Set("Cache-Control", "max-age=0")
			_, _ = w.Write([]byte("body"))
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Tenant")
		w.Header().Set("Cache-Tag", "new")
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
		}
	})
	const url = "http://example.com/"
	d.get(url, "X-Tenant", "one")
	again = true
	d.get(url, "X-Tenant", "one")
	if got := d.get(url, "X-Tenant", "one"); !isHit(got) || got.Body.String() != "body" {
		t.Fatalf("not stored: %s", got.Header().Get("Cache-Status"))
	}
	if got := d.get(url, "X-Tenant", "two"); isHit(got) {
		t.Errorf("another tenant got %q", got.Body)
	}
	d.purge(t, "tag", "new")
	if got := d.get(url, "X-Tenant", "one"); isHit(got) {
		t.Error("a purge of the tag that the 304 brought missed the answer")
	}
}

// Dates far away overflow nothing: what is stale by them is not fresh, and what never expires is kept.
func TestDatesFarAway(t *testing.T) {
	for name, c := range map[string]struct {
		lines map[string]string
		hit   bool
	}{
		"the year 1":    {map[string]string{"Date": stamp(time.Time{}), "Cache-Control": "max-age=60", "ETag": `"a"`}, false},
		"the year 9999": {map[string]string{"Expires": "Fri, 31 Dec 9999 23:59:59 GMT"}, true},
		"and usable stale": {map[string]string{
			"Expires": "Fri, 31 Dec 9999 23:59:59 GMT", "Cache-Control": "stale-while-revalidate=60",
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
				for field, value := range c.lines {
					w.Header().Set(field, value)
				}
				_, _ = w.Write([]byte("body"))
			})
			d.get("http://example.com/")
			if got := d.get("http://example.com/"); isHit(got) != c.hit {
				t.Errorf("%s, want hit %v", got.Header().Get("Cache-Status"), c.hit)
			}
		})
	}
}

// A purge of a host names no scheme, so that both default ports are none.
func TestPurgeOfAHostWithItsPort(t *testing.T) {
	d := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.WriteHeader(http.StatusOK)
	})
	for _, host := range []string{"example.com", "example.com:80", "example.com:443", "EXAMPLE.com."} {
		d.get("http://example.com/")
		d.purge(t, "host", host)
		if isHit(d.get("http://example.com/")) {
			t.Errorf("a purge of %s missed it", host)
		}
	}
}
