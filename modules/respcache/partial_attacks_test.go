// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// What one client posts is not what others get, unless the site's operator says that it may be.
func TestPostsPlantNothing(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Location", r.URL.RequestURI())
		_, _ = io.WriteString(w, "you sent "+string(body))
	})
	s := front(t, o)
	s.Do(http.MethodPost, s.URL(":8080")+"/search", "<script>")
	if got := s.Get("/search"); got.Body != "you sent " || cached(got) {
		t.Errorf("others get %q (%s)", got.Body, got.Header.Get("Cache-Status"))
	}
}

// What a POST answered before a purge is not stored after it, though its header came later.
func TestPurgeWhilePosted(t *testing.T) {
	for _, how := range []string{"purge", "invalidation"} {
		t.Run(how, func(t *testing.T) {
			var meanwhile func()
			d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					meanwhile()
				}
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Content-Location", "/")
				_, _ = io.WriteString(w, "of "+r.Method)
			})
			d.handler.StorePosts = true
			request := func(method string) {
				w := httptest.NewRecorder()
				if err := d.handler.ServeHTTP(w, gatehousetest.Request(w, method, "http://a/", "203.0.113.7:1"), d.next); err != nil {
					t.Fatal(err)
				}
			}
			meanwhile = func() {}
			request(http.MethodPost)
			if got := d.get("http://a/").Body.String(); got != "of POST" {
				t.Fatalf("got %q: nothing was tested", got)
			}
			meanwhile = func() { d.purge(t, "all", "") }
			if how == "invalidation" {
				meanwhile = func() { request(http.MethodDelete) }
			}
			request(http.MethodPost)
			if got := d.get("http://a/").Body.String(); got != "of GET" {
				t.Errorf("got %q after a %s", got, how)
			}
		})
	}
}

// A stale answer that was purged while the origin was tried is not used although the origin is down.
func TestPurgeWhileDown(t *testing.T) {
	for _, how := range []string{"purge", "invalidation", "neither"} {
		t.Run(how, func(t *testing.T) {
			d := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=10")
				w.Header().Set("Age", "20")
				w.Header().Set("ETag", `"a"`)
				_, _ = io.WriteString(w, "old")
			})
			d.get("http://a/")
			up := d.next
			d.next = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
				switch how {
				case "purge":
					d.purge(t, "all", "")
				case "invalidation":
					w := httptest.NewRecorder()
					if err := d.handler.ServeHTTP(w, gatehousetest.Request(w, http.MethodPut, "http://a/", "203.0.113.7:1"), up); err != nil {
						t.Error(err)
					}
				}
				return caddyhttp.Error(http.StatusBadGateway, errors.New("down"))
			})
			if got := d.get("http://a/"); strings.Contains(got.Body.String(), "old") != (how == "neither") {
				t.Errorf("got %d %q (%s)", got.Code, got.Body, got.Header().Get("Cache-Status"))
			}
		})
	}
}

// A 304 that changes the validators of a part says nothing about it: the range is asked for anew.
func TestConfirmedWithOtherValidators(t *testing.T) {
	for _, change := range []string{`ETag: W/"a"`, "Last-Modified: " + stamp(time.Now())} {
		t.Run(change, func(t *testing.T) {
			modified := stamp(time.Now().Add(-time.Hour))
			first := true
			d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				h.Set("ETag", `"a"`)
				h.Set("Last-Modified", modified)
				h.Set("Cache-Control", "max-age=0")
				switch {
				case first:
					first = false
				case r.Header.Get("If-None-Match") != "":
					name, value, _ := strings.Cut(change, ": ")
					h.Set(name, value)
					w.WriteHeader(http.StatusNotModified)
					return
				}
				if r.Header.Get("Range") == "" {
					_, _ = io.WriteString(w, digits)
					return
				}
				h.Set("Content-Range", "bytes 0-3/10")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, digits[:4])
			})
			d.get("http://a/", "Range", "bytes=0-3")
			condition := `"a"`
			if strings.HasPrefix(change, "Last") {
				condition = modified
			}
			got := d.get("http://a/", "Range", "bytes=0-2", "If-Range", condition)
			if want := map[int]string{206: digits[:3], 200: digits}[got.Code]; got.Body.String() != want {
				t.Errorf("got %d %q", got.Code, got.Body)
			}
		})
	}
}

// A digest of what one message carried is not given with another: neither with a range of it, nor with what it became a part of.
func TestDigestsOfParts(t *testing.T) {
	d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Digest", "of "+r.Header.Get("Range"))
		w.Header().Set("Content-MD5", "of "+r.Header.Get("Range"))
		http.ServeContent(w, r, "x.bin", time.Time{}, strings.NewReader(digits))
	})
	digest := func(path, r, want string) {
		t.Helper()
		got := d.get("http://a"+path, "Range", r)
		if found := got.Header().Get("Content-Digest") + got.Header().Get("Content-MD5"); found != want {
			t.Errorf("%s %s: %q, want %q (%s)", path, r, found, want, got.Header().Get("Cache-Status"))
		}
	}
	digest("/part", "bytes=0-3", "")
	digest("/part", "bytes=1-2", "")
	digest("/part", "bytes=0-", "")
	digest("/whole", "bytes=0-", "")
	d.get("http://a/other")
	digest("/other", "bytes=1-2", "")
	if got := d.get("http://a/other").Header(); got.Get("Content-Digest") != "of " {
		t.Errorf("a whole has the digest %q", got.Get("Content-Digest"))
	}
}

// A crowd that wants the whole is answered by one request, also while a stale part is refreshed.
func TestRefreshOfAPart(t *testing.T) {
	l := newLibrary(digits)
	l.lines = []string{"Cache-Control: max-age=10, stale-while-revalidate=60", "Age: 20"}
	ranges := make(chan string, 10)
	hold := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		ranges <- r.Header.Get("Range")
		if len(r.Header["If-None-Match"]) > 0 {
			<-hold
			w.Header().Set("X-Refreshed", "1")
		}
		l.ServeHTTP(w, r)
	})
	s := front(t, o)
	s.Get("/", "Range: bytes=2-7")
	<-ranges
	if got := s.Get("/", "Range: bytes=3-4"); got.Body != "34" || !cached(got) {
		t.Fatalf("got %q (%s)", got.Body, got.Header.Get("Cache-Status"))
	}
	if got := <-ranges; got != "bytes=2-7" {
		t.Errorf("%q is refreshed, want what is stored", got)
	}
	whole := make(chan gatehousetest.Response, 1)
	go func() { whole <- s.Get("/") }()
	select {
	case got := <-whole:
		if got.Body != digits {
			t.Errorf("got %q", got.Body)
		}
	case <-time.After(within):
		t.Error("the whole waits for the refresh of a part")
	}
	close(hold)
}

// An answer of several ranges is not taken for one of them, whatever Content-Range it has; and a tag without quotes is none.
func TestPartsThatAreNone(t *testing.T) {
	for _, lines := range [][2]string{{"Content-Type", "multipart/byteranges; boundary=x"}, {"ETag", "a"}, {"ETag", `w/"a"`}} {
		d := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"a"`)
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Range", "bytes 2-5/10")
			w.Header().Set(lines[0], lines[1])
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, "--x\r")
		})
		for range 2 {
			if got := d.get("http://a/", "Range", "bytes=2-5"); isHit(got) {
				t.Errorf("%s: %s", lines, got.Header().Get("Cache-Status"))
			}
		}
	}
}

// Long fields of one client do not keep others from sharing an answer.
func TestLongVaryTakesNoCollapsing(t *testing.T) {
	hold := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X") == "" {
			<-hold
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X")
		_, _ = io.WriteString(w, "body")
	})
	s := front(t, o)
	s.Get("/", "X: "+strings.Repeat("x", 5000))
	done := make(chan string, 5)
	for range 5 {
		go func() { done <- s.Get("/").Body }()
	}
	followed(t, 4)
	close(hold)
	for range 5 {
		if got := <-done; got != "body" {
			t.Error(fmt.Sprint(got))
		}
	}
	if n := o.hits.Load(); n != 2 {
		t.Errorf("%d requests reached the origin, want 2", n)
	}
}
