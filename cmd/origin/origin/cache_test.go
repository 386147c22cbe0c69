// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestCacheHeaders holds the headers of every kind: a wrong one would make every cache test upon it worthless.
func TestCacheHeaders(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	want := map[string]string{
		"plain":                  "",
		"max-age":                "Cache-Control=public, max-age=7",
		"s-maxage":               "Cache-Control=max-age=0, s-maxage=7",
		"cdn":                    "Cache-Control=no-store|CDN-Cache-Control=max-age=7",
		"expires":                "Expires=*",
		"etag":                   `Cache-Control=max-age=7|Etag="etag-1"`,
		"weak-etag":              `Cache-Control=max-age=7|Etag=W/"weak-etag-1"`,
		"last-modified":          "Cache-Control=max-age=7|Last-Modified=*",
		"heuristic":              "Last-Modified=*",
		"no-cache":               `Cache-Control=no-cache|Etag="no-cache-1"`,
		"must-revalidate":        `Cache-Control=max-age=7, must-revalidate|Etag="must-revalidate-1"`,
		"stale-while-revalidate": `Cache-Control=max-age=7, stale-while-revalidate=60|Etag="stale-while-revalidate-1"`,
		"stale-if-error":         `Cache-Control=max-age=7, stale-if-error=60|Etag="stale-if-error-1"`,
		"immutable":              `Cache-Control=public, max-age=31536000, immutable|Etag="immutable-1"`,
		"no-store":               "Cache-Control=no-store",
		"private":                "Cache-Control=private, max-age=7",
		"vary":                   "Cache-Control=max-age=7|Vary=Accept-Language",
		"vary-star":              "Cache-Control=max-age=7|Vary=*",
		"set-cookie":             "Cache-Control=max-age=7|Set-Cookie=*",
		"tags":                   "Cache-Control=max-age=7|Cache-Tag=tags,origin|Surrogate-Key=tags origin",
		"chunked":                "Cache-Control=max-age=7",
		"large":                  `Cache-Control=max-age=7|Etag="large-1"`,
		"ranges":                 `Cache-Control=max-age=7|Etag="ranges-1"|Last-Modified=*`,
	}
	names := decode[[]string](t, do(t, l, "GET", "/cache", "").Body)
	if len(names) != len(want) {
		t.Errorf("%d kinds, %d expected", len(names), len(want))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			w := do(t, l, "GET", "/cache/"+name+"?age=7", "")
			wantStatus(t, w, http.StatusOK)
			expected, known := want[name]
			if !known {
				t.Fatal("not in the table")
			}
			left := w.Header().Clone()
			for pair := range strings.SplitSeq(expected, "|") {
				header, value, ok := strings.Cut(pair, "=")
				if !ok {
					continue
				}
				got := strings.Join(left[header], "\n")
				if got != value && (value != "*" || got == "") {
					t.Errorf("%s is %q, want %q", header, got, value)
				}
				delete(left, header)
			}
			for _, header := range []string{"X-Origin", "X-Origin-Serial", "Content-Type", "Content-Length", "Accept-Ranges"} {
				delete(left, header)
			}
			if len(left) > 0 {
				t.Errorf("unexpected headers %v", left)
			}
		})
	}
}

func TestCacheTimes(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	before := time.Now().Truncate(time.Second)
	expires, err := http.ParseTime(do(t, l, "GET", "/cache/expires?age=100", "").Header().Get("Expires"))
	if err != nil || expires.Before(before.Add(100*time.Second)) || expires.After(time.Now().Add(100*time.Second)) {
		t.Errorf("Expires %s, %v", expires, err)
	}
	modified := func() time.Time {
		m, err := http.ParseTime(do(t, l, "GET", "/cache/heuristic", "").Header().Get("Last-Modified"))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	first := modified()
	if age := time.Since(first); age < 23*time.Hour || age > 25*time.Hour {
		t.Errorf("modified %s ago", age)
	}
	wantStatus(t, do(t, l, "POST", "/cache/heuristic", ""), http.StatusOK)
	if moved := modified().Sub(first); moved != time.Minute {
		t.Errorf("a new version moved Last-Modified by %s", moved)
	}
}

func TestCacheValidators(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	modified := do(t, l, "GET", "/cache/last-modified", "").Header().Get("Last-Modified")
	for _, test := range []struct {
		kind, header, value string
		status              int
	}{
		{"etag", "If-None-Match", `"etag-1"`, 304},
		{"etag", "If-None-Match", `"other", W/"etag-1"`, 304},
		{"etag", "If-None-Match", `"etag-2"`, 200},
		{"etag", "If-Match", `"etag-2"`, 412},
		{"weak-etag", "If-None-Match", `W/"weak-etag-1"`, 304},
		{"last-modified", "If-Modified-Since", modified, 304},
		{"last-modified", "If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT", 200},
		{"plain", "If-None-Match", `"plain-1"`, 200},
		{"ranges", "Range", "bytes=10-19", 206},
		{"ranges", "Range", "bytes=99999999-", 416},
	} {
		w := do(t, l, "GET", "/cache/"+test.kind, "", test.header, test.value)
		if w.Code != test.status {
			t.Errorf("%s with %s: %s is %d, want %d", test.kind, test.header, test.value, w.Code, test.status)
		}
	}
}

// TestCacheChange: POST makes a stored copy stale in every way that a cache can notice.
func TestCacheChange(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	before := do(t, l, "GET", "/cache/ranges?size=100", "")
	w := do(t, l, "POST", "/cache/ranges", "")
	wantStatus(t, w, http.StatusOK)
	if got := decode[changed](t, w.Body); got != (changed{Kind: "ranges", Version: 2}) {
		t.Errorf("%+v", got)
	}
	after := do(t, l, "GET", "/cache/ranges?size=100", "", "If-None-Match", before.Header().Get("ETag"))
	wantStatus(t, after, http.StatusOK)
	for _, header := range []string{"Etag", "Last-Modified", "X-Origin-Serial"} {
		if before.Header().Get(header) == after.Header().Get(header) {
			t.Errorf("%s is still %s", header, before.Header().Get(header))
		}
	}
	if before.Body.String() == after.Body.String() || before.Body.Len() != 100 || after.Body.Len() != 100 {
		t.Error("the body is the same, or not of 100 bytes")
	}
	// Another kind keeps its version.
	wantStatus(t, do(t, l, "GET", "/cache/etag", "", "If-None-Match", `"etag-1"`), http.StatusNotModified)
}

// TestCacheBodies: what must not be shared differs between those who must not share it, and only then.
func TestCacheBodies(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	for _, test := range []struct {
		kind, header string
		differ       bool
	}{
		{"max-age", "Cookie", false},
		{"vary", "Accept-Language", true},
		{"vary", "Cookie", false},
		{"private", "Cookie", true},
		{"private", "Authorization", true},
		{"set-cookie", "Cookie", true},
	} {
		one := do(t, l, "GET", "/cache/"+test.kind, "", test.header, "one").Body.String()
		two := do(t, l, "GET", "/cache/"+test.kind, "", test.header, "two").Body.String()
		if differ := one != two; differ != test.differ {
			t.Errorf("%s by %s: %q, %q", test.kind, test.header, one, two)
		}
	}
	cookie := func() string { return do(t, l, "GET", "/cache/set-cookie", "").Header().Get("Set-Cookie") }
	if first, second := cookie(), cookie(); first == second || !strings.HasSuffix(first, "; Path=/; HttpOnly") {
		t.Errorf("cookies %q, %q", first, second)
	}
}

func TestCacheOverTheWire(t *testing.T) {
	url, client := serveReal(t, newListener(t, Options{}, Settings{}))
	response, body, err := send(t, client, "GET", url+"/cache/chunked?size=100000")
	if err != nil || response.ContentLength != -1 || len(body) != 100_000 {
		t.Errorf("chunked: length %d, %d bytes, %v", response.ContentLength, len(body), err)
	}
	response, body, err = send(t, client, "GET", url+"/cache/large")
	if err != nil || response.ContentLength != largeBody || len(body) != largeBody {
		t.Errorf("large: length %d, %d bytes, %v", response.ContentLength, len(body), err)
	}
}
