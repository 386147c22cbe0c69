// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

const freshLine = "Cache-Control: max-age=60"

// hits requests a path twice and reports whether the second answer came from the store.
func hits(s *gatehousetest.Server, path string, headers ...string) bool {
	s.Get(path, headers...)
	return cached(s.Get(path, headers...))
}

func TestOptions(t *testing.T) {
	plain := header("body")
	fresh := header("body", freshLine)
	for name, c := range map[string]struct {
		options []string
		origin  http.HandlerFunc
		check   func(t *testing.T, s *gatehousetest.Server, o *origin)
	}{
		"ttl is off": {nil, plain, func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			if hits(s, "/") {
				t.Error("an answer that says nothing was stored")
			}
		}},
		"ttl": {[]string{"ttl 1m"}, plain, func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			if !hits(s, "/") {
				t.Error("not stored")
			}
			if hits(s, "/x", "Cookie: a=b") {
				t.Error("stored although the request has a cookie")
			}
		}},
		"ttl of a status": {[]string{"ttl 404 410 1m"}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			if !hits(s, "/") {
				t.Error("not stored")
			}
		}},
		"bypass": {[]string{"bypass {http.request.cookie.session} {http.request.header.X-Nope}"}, fresh, func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			if hits(s, "/", "Cookie: session=1") || !hits(s, "/") {
				t.Error("the cookie did not decide")
			}
			if got := s.Get("/", "X-Nope: 1").Header.Get("Cache-Status"); got != "Gatehouse; fwd=bypass; fwd-status=200; detail=configured" {
				t.Errorf("got %s", got)
			}
		}},
		"key": {[]string{"key {http.request.header.X-Country}"}, fresh, func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			s.Get("/", "X-Country: de")
			if cached(s.Get("/", "X-Country: fr")) || !cached(s.Get("/", "X-Country: de")) {
				t.Error("the country did not decide")
			}
		}},
		"query": {[]string{"query {\nignore utm_*\nsort\n}"}, fresh, func(t *testing.T, s *gatehousetest.Server, o *origin) {
			s.Get("/?b=1&a=2&utm_source=x")
			if got := o.last(t).URL.RawQuery; got != "b=1&a=2&utm_source=x" {
				t.Errorf("the origin got %q", got)
			}
			if !cached(s.Get("/?a=2&b=1&utm_medium=y")) || cached(s.Get("/?a=2&b=2")) {
				t.Error("the query was not normalised")
			}
			purge(t, s, fmt.Sprintf(`{"kind":"url","value":"%s/?b=1&utm_source=z&a=2"}`, s.URL(":8080")))
			if cached(s.Get("/?a=2&b=1")) {
				t.Error("a purge did not know the normalised query")
			}
		}},
		"ignore_client_no_cache": {[]string{"ignore_client_no_cache"}, fresh, func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			if !hits(s, "/", "Cache-Control: no-cache") || !hits(s, "/x", "Pragma: no-cache") || !hits(s, "/y", "Cache-Control: max-age=0") {
				t.Error("the client was heeded")
			}
		}},
		"heuristic off": {[]string{"heuristic off"}, header("body", "Last-Modified: "+stamp(time.Now().Add(-1000*time.Hour))), func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			if hits(s, "/") {
				t.Error("guessed")
			}
		}},
		"serve_stale": {[]string{"serve_stale 1h"}, header("body", "Cache-Control: max-age=10", "Age: 20", `ETag: "a"`), func(t *testing.T, s *gatehousetest.Server, o *origin) {
			s.Get("/")
			o.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
			if got := s.Get("/"); got.StatusCode != 200 || got.Body != "body" || !strings.Contains(got.Header.Get("Cache-Status"), "stale-if-error-503") {
				t.Errorf("with 503: %s %q %s", got.Status, got.Body, got.Header.Get("Cache-Status"))
			}
			o.CloseClientConnections()
			o.Close()
			if got := s.Get("/"); got.StatusCode != 200 || got.Body != "body" || !strings.Contains(got.Header.Get("Cache-Status"), "stale-if-error-502") {
				t.Errorf("without upstream: %s %q %s", got.Status, got.Body, got.Header.Get("Cache-Status"))
			}
		}},
		"serve_stale off": {[]string{"serve_stale off"}, header("body", "Cache-Control: max-age=10", "Age: 20", `ETag: "a"`), func(t *testing.T, s *gatehousetest.Server, o *origin) {
			s.Get("/")
			o.CloseClientConnections()
			o.Close()
			if got := s.Get("/"); got.StatusCode != 502 {
				t.Errorf("without upstream: %s %q %s", got.Status, got.Body, got.Header.Get("Cache-Status"))
			}
		}},
		"dry_run": {[]string{"dry_run"}, fresh, func(t *testing.T, s *gatehousetest.Server, o *origin) {
			first, second := s.Get("/"), s.Get("/")
			if o.hits.Load() != 2 || !strings.Contains(first.Header.Get("Cache-Status"), "dry-run-miss") || !strings.Contains(second.Header.Get("Cache-Status"), "dry-run-hit") {
				t.Errorf("%d requests; %s; %s", o.hits.Load(), first.Header.Get("Cache-Status"), second.Header.Get("Cache-Status"))
			}
		}},
		"variants": {[]string{"variants 2"}, header("body", freshLine, "Vary: A"), func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			for _, a := range []string{"1", "2", "3"} {
				s.Get("/", "A: "+a)
			}
			if cached(s.Get("/", "A: 1")) || !cached(s.Get("/", "A: 3")) {
				t.Error("not the two newest were kept")
			}
		}},
		"max_object": {[]string{"max_object 1KiB"}, header(strings.Repeat("x", 2000), freshLine), func(t *testing.T, s *gatehousetest.Server, _ *origin) {
			if got := s.Get("/").Header.Get("Cache-Status"); !strings.Contains(got, "detail=too-large") || hits(s, "/") {
				t.Errorf("got %s", got)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, c.origin)
			c.check(t, front(t, o, c.options...), o)
		})
	}
}

func gunzip(t *testing.T, body string) string {
	t.Helper()
	r, err := stdgzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// encode runs once for each variant, on the fill; its tags validate upstream and at the client.
func TestCompressOnce(t *testing.T) {
	text := strings.Repeat("a line of text\n", 1000)
	var validations atomic.Int64
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, must-revalidate")
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			validations.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, text)
	})
	s := gatehousetest.Start(t, ":8080 {\nresponse_cache\nencode gzip zstd\nreverse_proxy "+o.address()+"\n}")
	empty(t, s)
	for range 2 {
		plain, zipped := s.Get("/"), s.Get("/", "Accept-Encoding: gzip, deflate")
		if plain.Body != text || plain.Header.Get("Content-Encoding") != "" {
			t.Fatalf("identity: %d bytes of coding %q", len(plain.Body), plain.Header.Get("Content-Encoding"))
		}
		if zipped.Header.Get("Content-Encoding") != "gzip" || gunzip(t, zipped.Body) != text || len(zipped.Body) > len(text)/4 {
			t.Fatalf("gzip: %d bytes of coding %q", len(zipped.Body), zipped.Header.Get("Content-Encoding"))
		}
		if zipped.Header.Get("ETag") == plain.Header.Get("ETag") {
			t.Errorf("two codings have one tag %q", plain.Header.Get("ETag"))
		}
	}
	if validations.Load() != 2 {
		t.Errorf("%d validations, want one of each variant", validations.Load())
	}
	if resp := s.Get("/", "Accept-Encoding: gzip", `If-None-Match: "v1-gzip"`); resp.StatusCode != http.StatusNotModified {
		t.Errorf("the client's tag: %s", resp.Status)
	}
	purge(t, s, `{"kind":"all"}`)
	o.answer(header(text, freshLine, "Content-Type: text/plain"))
	before := o.hits.Load()
	for range 3 {
		for _, accept := range []string{"gzip", "gzip, deflate", "deflate, gzip;q=0.5", "GZIP"} {
			if got := s.Get("/x", "Accept-Encoding: "+accept); gunzip(t, got.Body) != text {
				t.Errorf("%s: wrong body", accept)
			}
		}
	}
	if n := o.hits.Load() - before; n != 1 {
		t.Errorf("%d requests for one variant", n)
	}
}

// What the upstream has compressed itself is stored as it is, for those who accept it.
func TestPrecompressed(t *testing.T) {
	var zipped bytes.Buffer
	w := stdgzip.NewWriter(&zipped)
	_, _ = io.WriteString(w, strings.Repeat("text ", 500))
	_ = w.Close()
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Encoding")
		w.Header().Set("Content-Type", "text/plain")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped.Bytes())
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("text ", 500))
	})
	s := gatehousetest.Start(t, ":8080 {\nresponse_cache\nencode gzip zstd\nreverse_proxy "+o.address()+"\n}")
	empty(t, s)
	for range 2 {
		if got := s.Get("/", "Accept-Encoding: gzip"); got.Body != zipped.String() {
			t.Error("the upstream's own coding was changed")
		}
		if got := s.Get("/"); got.Body != strings.Repeat("text ", 500) {
			t.Error("identity is wrong")
		}
	}
	if o.hits.Load() != 2 {
		t.Errorf("%d requests", o.hits.Load())
	}
}

func TestPurge(t *testing.T) {
	o := newOrigin(t, header("body", freshLine, "Cache-Tag: red, blue", "Surrogate-Key: green", `Cache-Groups: "yellow"`))
	s := front(t, o)
	url := s.URL(":8080")
	host := strings.TrimPrefix(url, "http://")
	for name, c := range map[string]struct {
		purge string
		path  string
		gone  bool
	}{
		"URL":                 {`{"kind":"url","value":"` + url + `/a?q"}`, "/a?q", true},
		"another query":       {`{"kind":"url","value":"` + url + `/a"}`, "/a?q", false},
		"another scheme":      {`{"kind":"url","value":"https://` + host + `/a?q"}`, "/a?q", false},
		"prefix":              {`{"kind":"prefix","value":"` + url + `/dir/"}`, "/dir/x", true},
		"another prefix":      {`{"kind":"prefix","value":"` + url + `/dir/"}`, "/di", false},
		"host":                {`{"kind":"host","value":"` + host + `"}`, "/", true},
		"another host":        {`{"kind":"host","value":"example.com"}`, "/", false},
		"Cache-Tag":           {`{"kind":"tag","value":"blue"}`, "/", true},
		"Surrogate-Key":       {`{"kind":"tag","value":"green"}`, "/", true},
		"Cache-Groups as tag": {`{"kind":"tag","value":"yellow"}`, "/", true},
		"Cache-Groups":        {`{"kind":"group","value":"` + url + ` yellow"}`, "/", true},
		"another tag":         {`{"kind":"tag","value":"bl"}`, "/", false},
		"all":                 {`{"kind":"all"}`, "/", true},
	} {
		t.Run(name, func(t *testing.T) {
			empty(t, s)
			if !hits(s, c.path) {
				t.Fatal("not stored")
			}
			purge(t, s, c.purge)
			if got := cached(s.Get(c.path)); got == c.gone {
				t.Errorf("found afterwards: %v", got)
			}
			if !cached(s.Get(c.path)) {
				t.Error("what came after the purge is not found")
			}
		})
	}
}

// A soft purge makes answers stale: they are validated.
func TestSoftPurge(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Cache-Tag", "x")
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, "body")
	})
	s := front(t, o)
	for _, kind := range []string{`"kind":"tag","value":"x"`, `"kind":"url","value":"` + s.URL(":8080") + `/"`, `"kind":"all"`} {
		s.Get("/")
		purge(t, s, "{"+kind+`,"soft":true}`)
		if resp := s.Get("/"); !strings.Contains(resp.Header.Get("Cache-Status"), "fwd=stale; fwd-status=304") || resp.Body != "body" {
			t.Errorf("%s: %s %q", kind, resp.Header.Get("Cache-Status"), resp.Body)
		}
		if !cached(s.Get("/")) {
			t.Errorf("%s: still stale after it was validated", kind)
		}
	}
}

// A purge holds for an answer that was on its way when it came.
func TestPurgeDuringFill(t *testing.T) {
	for _, kind := range []string{"url", "tag", "host", "prefix", "all", "unsafe request"} {
		t.Run(kind, func(t *testing.T) {
			asked, goOn := make(chan struct{}, 10), make(chan struct{})
			o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					return
				}
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Cache-Tag", "x")
				asked <- struct{}{}
				<-goOn
				_, _ = io.WriteString(w, "old")
			})
			s := front(t, o)
			old := make(chan gatehousetest.Response, 1)
			go func() {
				resp, _ := s.Try(http.MethodGet, s.URL(":8080")+"/", "")
				old <- resp
			}()
			<-asked
			url := s.URL(":8080")
			switch kind {
			case "unsafe request":
				s.Do(http.MethodPost, url+"/", "")
			case "url", "prefix":
				purge(t, s, fmt.Sprintf(`{"kind":%q,"value":"%s/"}`, kind, url))
			default:
				value := map[string]string{"tag": "x", "host": strings.TrimPrefix(url, "http://"), "all": ""}[kind]
				purge(t, s, fmt.Sprintf(`{"kind":%q,"value":%q}`, kind, value))
			}
			later := make(chan gatehousetest.Response, 1)
			go func() {
				resp, _ := s.Try(http.MethodGet, url+"/", "")
				later <- resp
			}()
			<-asked // who comes after the purge does not wait for what began before it
			close(goOn)
			<-old
			<-later
			if resp := s.Get("/"); !cached(resp) {
				t.Errorf("the answer after the purge is not stored: %s", resp.Header.Get("Cache-Status"))
			}
			if n := o.hits.Load(); kind != "unsafe request" && n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestAdmin(t *testing.T) {
	o := newOrigin(t, header("body", freshLine, "Vary: A"))
	s := front(t, o)
	for body, want := range map[string]string{
		`{"purges":[{"kind":"url","value":"/path"}]}`:      "expected a URL such as https://example.com/path?query",
		`{"purges":[{"kind":"url","value":"ftp://x/"}]}`:   "expected a URL",
		`{"purges":[{"kind":"host","value":"https://x"}]}`: "expected a host such as example.com",
		`{"purges":[{"kind":"tag","value":""}]}`:           "expected a tag of 1 to 1024 bytes",
		`{"purges":[{"kind":"group","value":"x"}]}`:        "expected an origin and a cache group",
		`{"purges":[{"kind":"everything"}]}`:               "expected one of url, prefix, host, tag, group, all",
		`{"purges":[]}`:                                    "expected 1 to 10000",
		`{"purges":[{"kind":"all","value":"x"}]}`:          "has no value",
		`{"urls":["x"]}`:                                   "unknown field",
		`nonsense`:                                         "reading the body",
	} {
		if resp := s.Admin(http.MethodPost, "/gatehouse/cache/purge", body); resp.StatusCode != http.StatusBadRequest || !strings.Contains(resp.Body, want) {
			t.Errorf("%s: %s %s", body, resp.Status, resp.Body)
		}
	}
	if resp := s.Admin(http.MethodGet, "/gatehouse/cache/purge", ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", resp.Status)
	}
	s.Get("/page", "A: 1")
	s.Get("/page", "A: 2")
	resp := s.Admin(http.MethodGet, "/gatehouse/cache/inspect?url="+s.URL(":8080")+"/page", "")
	if strings.Count(resp.Body, `"state":"fresh"`) != 2 || !strings.Contains(resp.Body, `"vary":{"A":"1"}`) {
		t.Errorf("inspect: %s", resp.Body)
	}
	if resp := s.Admin(http.MethodGet, "/gatehouse/cache/inspect?url=x", ""); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("inspect of nonsense: %s", resp.Status)
	}
	if resp := s.Admin(http.MethodGet, "/gatehouse/cache", ""); !strings.Contains(resp.Body, `"items":1`) || !strings.Contains(resp.Body, `"budget":268435456`) {
		t.Errorf("stats: %s", resp.Body)
	}
}

// A stale answer is used while it is refreshed, and refreshed once.
func TestStaleWhileRevalidate(t *testing.T) {
	const clients = 200
	release := make(chan struct{})
	var refreshes atomic.Int64
	o := newOrigin(t, header("old", "Cache-Control: max-age=10, stale-while-revalidate=600", "Age: 20"))
	s := front(t, o)
	s.Get("/")
	o.answer(func(w http.ResponseWriter, r *http.Request) {
		refreshes.Add(1)
		<-release
		if r.Header.Get("Cookie") != "" {
			t.Error("a client's cookie went along")
		}
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "new")
	})
	for range clients {
		if resp := s.Get("/"); resp.Body != "old" || resp.Header.Get("Age") == "" {
			t.Fatalf("got %q, %s", resp.Body, resp.Header.Get("Cache-Status"))
		}
	}
	eventually(t, "the refresh begins", func() bool { return refreshes.Load() > 0 })
	close(release)
	eventually(t, "the new answer is used", func() bool { return s.Get("/").Body == "new" })
	if n := refreshes.Load(); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

func TestReloads(t *testing.T) {
	o := newOrigin(t, header("body", freshLine))
	s := front(t, o)
	s.Get("/")
	if err := s.Reload(strings.Replace(config(o), "response_cache {", "response_cache 512MiB {", 1)); err != nil {
		t.Fatal(err)
	}
	if !cached(s.Get("/")) {
		t.Error("a reload with another budget lost what was stored")
	}
	if resp := s.Admin(http.MethodGet, "/gatehouse/cache", ""); !strings.Contains(resp.Body, `"budget":536870912`) {
		t.Errorf("the new budget does not hold: %s", resp.Body)
	}
	if err := s.Reload(strings.Replace(config(o), "response_cache {", "response_cache 64MiB {\nbypass {x}\n}\nhandle /x {\nreverse_proxy 127.0.0.1:1 {\nlb_policy nonsense\n}\n}\nlog {", 1)); err == nil {
		t.Fatal("a broken config was loaded")
	}
	if resp := s.Admin(http.MethodGet, "/gatehouse/cache", ""); !cached(s.Get("/")) || !strings.Contains(resp.Body, `"budget":536870912`) {
		t.Errorf("a rejected reload changed the cache: %s", resp.Body)
	}
}
