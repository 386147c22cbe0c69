// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// library answers as a server of files does, with ranges and validators, and remembers what it was asked.
type library struct {
	mu      sync.Mutex
	content []byte
	etag    string
	lines   []string // further header lines
	ranges  []string // that were asked for; "" for the whole
	sent    int64    // bytes
}

func (l *library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	content, etag := l.content, l.etag
	l.ranges = append(l.ranges, r.Header.Get("Range"))
	for _, line := range l.lines {
		name, value, _ := strings.Cut(line, ": ")
		w.Header().Set(name, value)
	}
	l.mu.Unlock()
	w.Header().Set("ETag", etag)
	http.ServeContent(&counting{ResponseWriter: w, l: l}, r, "x.bin", time.Time{}, bytes.NewReader(content))
}

// counting counts the bytes of bodies.
type counting struct {
	http.ResponseWriter
	l *library
}

func (c *counting) Write(p []byte) (int, error) {
	c.l.mu.Lock()
	c.l.sent += int64(len(p))
	c.l.mu.Unlock()
	return c.ResponseWriter.Write(p)
}

// asked is the ranges that were asked for since the last call.
func (l *library) asked() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Join(l.ranges, " ")
	if len(l.ranges) == 1 && text == "" {
		text = "whole"
	}
	l.ranges = nil
	return text
}

func newLibrary(content string) *library {
	return &library{content: []byte(content), etag: `"a"`, lines: []string{"Cache-Control: max-age=3600"}}
}

const digits = "0123456789"

// RFC 9111 sections 3.3 and 3.4: parts are kept, used within their bounds, joined and completed.
func TestParts(t *testing.T) {
	type step struct {
		lines  string // "Name: value" of the request, separated by |
		status int
		body   string
		asked  string // of the origin; empty if it was not
	}
	for name, c := range map[string]struct {
		change func(l *library) // before the last step
		steps  []step
	}{
		"a part answers for itself": {steps: []step{
			{"Range: bytes=-5", 206, "56789", "bytes=-5"},
			{"Range: bytes=-5", 206, "56789", ""},
			{"Range: bytes=6-8", 206, "678", ""},
			{"Range: bytes=6-", 206, "6789", ""},
			{"Range: bytes=-1", 206, "9", ""},
			{"Range: bytes=5-5,7-8", 206, "", ""},
		}},
		"and for nothing else": {steps: []step{
			{"Range: bytes=2-5", 206, "2345", "bytes=2-5"},
			{"Range: bytes=1-5", 206, "12345", "bytes=1-5"},
			{"Range: bytes=5-6", 206, "56", "bytes=5-6"},
			{"", 200, digits, "whole"},
		}},
		"parts that touch are joined": {steps: []step{
			{"Range: bytes=2-3", 206, "23", "bytes=2-3"}, {"Range: bytes=4-6", 206, "456", "bytes=4-6"}, {"Range: bytes=2-6", 206, "23456", ""},
		}},
		"parts with a gap stand side by side": {steps: []step{
			{"Range: bytes=0-2", 206, "012", "bytes=0-2"},
			{"Range: bytes=7-9", 206, "789", "bytes=7-9"},
			{"Range: bytes=1-2", 206, "12", ""},
			{"Range: bytes=8-9", 206, "89", ""},
			{"Range: bytes=3-6", 206, "3456", "bytes=3-6"},
			{"", 200, digits, ""},
		}},
		"all of it at once is the whole": {steps: []step{{"Range: bytes=-10", 206, digits, "bytes=-10"}, {"", 200, digits, ""}}},
		"a beginning is completed":       {steps: []step{{"Range: bytes=0-3", 206, "0123", "bytes=0-3"}, {"", 200, digits, "bytes=4-"}, {"", 200, digits, ""}}},
		"a beginning of something else is not": {change: func(l *library) { l.content, l.etag = []byte("abcdefghij"), `"b"` }, steps: []step{
			{"Range: bytes=0-3", 206, "0123", "bytes=0-3"}, {"", 200, "abcdefghij", "bytes=4-"},
		}},
		"a beginning of something longer is not": {change: func(l *library) { l.content = []byte(digits + "x") }, steps: []step{
			{"Range: bytes=0-3", 206, "0123", "bytes=0-3"}, {"", 200, digits + "x", "bytes=4- "},
		}},
		"a beginning of something shorter is not": {change: func(l *library) { l.content = []byte("012") }, steps: []step{
			{"Range: bytes=0-3", 206, "0123", "bytes=0-3"}, {"", 200, "012", "bytes=4- "},
		}},
		"HEAD is not answered from a part": {steps: []step{{"Range: bytes=2-3", 206, "23", "bytes=2-3"}, {"HEAD", 200, "", "whole"}}},
		"If-Range":                         {steps: []step{{"Range: bytes=2-5", 206, "2345", "bytes=2-5"}, {`Range: bytes=3-4|If-Range: "a"`, 206, "34", ""}, {`Range: bytes=3-4|If-Range: "b"`, 200, digits, "bytes=3-4"}}},
		"a condition comes first":          {steps: []step{{"Range: bytes=2-5", 206, "2345", "bytes=2-5"}, {`Range: bytes=3-4|If-None-Match: "a"`, 304, "", ""}}},
		"behind the end":                   {steps: []step{{"Range: bytes=20-", 416, "", "bytes=20-"}, {"", 200, digits, "whole"}}},
		"another validator drops the parts": {change: func(l *library) { l.content, l.etag = []byte("abcdefghij"), `"b"` }, steps: []step{
			{"Range: bytes=2-3", 206, "23", "bytes=2-3"}, {"Range: bytes=5-6", 206, "fg", "bytes=5-6"}, {"Range: bytes=2-3", 206, "cd", "bytes=2-3"},
		}},
		"a stale part is validated": {change: func(l *library) { l.lines = []string{"Cache-Control: max-age=3600"} }, steps: []step{
			{"stale|Range: bytes=2-5", 206, "2345", "bytes=2-5"}, {"Range: bytes=3-4", 206, "34", "bytes=3-4"}, {"Range: bytes=2-5", 206, "2345", ""},
		}},
		"a stale part of what has changed is not used": {change: func(l *library) { l.content, l.etag = []byte("abcdefghij"), `"b"` }, steps: []step{
			{"stale|Range: bytes=2-5", 206, "2345", "bytes=2-5"}, {"Range: bytes=3-4", 206, "de", "bytes=3-4"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(digits)
			d := newDirect(t, l.ServeHTTP)
			changed := c.change == nil
			for i, s := range c.steps {
				if i > 0 && !changed && (i == len(c.steps)-1 || strings.HasPrefix(c.steps[0].lines, "stale") || strings.HasPrefix(name, "another")) {
					c.change(l)
					changed = true
				}
				method, lines := http.MethodGet, s.lines
				if lines == "HEAD" {
					method, lines = http.MethodHead, ""
				}
				if rest, ok := strings.CutPrefix(lines, "stale|"); ok {
					l.lines, lines = []string{"Cache-Control: max-age=0"}, rest
				}
				w := httptest.NewRecorder()
				r := gatehousetest.Request(w, method, "http://example.com/file", "203.0.113.7:1")
				for line := range strings.SplitSeq(lines, "|") {
					if field, value, ok := strings.Cut(line, ": "); ok {
						r.Header.Set(field, value)
					}
				}
				if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
					t.Fatal(err)
				}
				if asked := l.asked(); w.Code != s.status || s.body != "" && w.Body.String() != s.body || asked != s.asked {
					t.Fatalf("step %d: %d %q, the origin was asked for %q; want %d %q %q (%s)", i+1, w.Code, w.Body, asked, s.status, s.body, s.asked,
						w.Header().Get("Cache-Status"))
				}
				if n := w.Header().Get("Content-Length"); method == http.MethodGet && w.Code < 300 && n != fmt.Sprint(w.Body.Len()) {
					t.Errorf("step %d: Content-Length %q of %d bytes", i+1, n, w.Body.Len())
				}
			}
		})
	}
}

// Parts that say too little, or forbid it, are passed and not kept; nor is anything else that a range brought about.
func TestPartsNotKept(t *testing.T) {
	partial := func(body string, lines ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for _, line := range append([]string{`ETag: "a"`, "Cache-Control: max-age=3600", "Content-Range: bytes 2-5/10"}, lines...) {
				field, value, _ := strings.Cut(line, ": ")
				if w.Header().Del(field); value != "" {
					w.Header().Set(field, value)
				}
			}
			if r.Header.Get("Range") == "" {
				w.Header().Set("Cache-Control", "no-store")
				w.Header().Del("Content-Range")
				_, _ = io.WriteString(w, digits)
				return
			}
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, body)
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=3600")
			if r.Header.Get("Range") != "" {
				w.WriteHeader(code)
			}
			_, _ = io.WriteString(w, "for "+r.Header.Get("Range"))
		}
	}
	for name, c := range map[string]http.HandlerFunc{
		"no validator":              partial("2345", "ETag: "),
		"a weak validator":          partial("2345", `ETag: W/"a"`),
		"only Last-Modified":        partial("2345", "ETag: ", "Last-Modified: "+stamp(time.Now().Add(-time.Hour))),
		"no-store":                  partial("2345", "Cache-Control: no-store"),
		"private":                   partial("2345", "Cache-Control: private, max-age=3600"),
		"Set-Cookie":                partial("2345", "Set-Cookie: a=b"),
		"Vary: *":                   partial("2345", "Vary: *"),
		"no freshness of no kind":   partial("2345", "Cache-Control: no-store, max-age=0"),
		"no length":                 partial("2345", "Content-Range: bytes 2-5/*"),
		"no Content-Range":          partial("2345", "Content-Range: "),
		"a malformed Content-Range": partial("2345", "Content-Range: bytes 5-2/10"),
		"something else":            partial("7", "Content-Range: bytes 7-7/10"),
		"several parts":             partial("--x\r\n", "Content-Range: ", "Content-Type: multipart/byteranges; boundary=x"),
		"a page for everything":     status(http.StatusOK),
		"an error":                  status(http.StatusNotFound),
		"an error of ranges":        status(http.StatusBadRequest),
		"a redirect":                status(http.StatusFound),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirect(t, c)
			d.get("http://example.com/", "Range", "bytes=2-5")
			for _, r := range []string{"bytes=2-5", ""} {
				var again *httptest.ResponseRecorder
				if r == "" {
					again = d.get("http://example.com/")
				} else {
					again = d.get("http://example.com/", "Range", r)
				}
				if r != "" && isHit(again) || r == "" && (again.Code == http.StatusPartialContent || strings.Contains(again.Body.String(), "bytes")) {
					t.Errorf("%q got %d %q (%s)", r, again.Code, again.Body, again.Header().Get("Cache-Status"))
				}
			}
		})
	}
}

// The rest of something is never given for the whole, whatever keeps it from being stored.
func TestRestAlone(t *testing.T) {
	for name, c := range map[string]struct{ request, answer string }{
		"the client's no-store": {"Cache-Control: no-store", ""},
		"the origin's no-store": {"", "Cache-Control: no-store"},
		"a cookie":              {"", "Set-Cookie: a=b"},
		"Vary":                  {"", "Vary: *"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(digits)
			d := newDirect(t, l.ServeHTTP)
			d.get("http://example.com/", "Range", "bytes=0-3")
			if c.answer != "" {
				l.lines = append(l.lines, c.answer)
			}
			name, value, _ := strings.Cut(c.request+": ", ": ")
			got := d.get("http://example.com/", name, strings.TrimSuffix(value, ": "))
			if got.Code != http.StatusOK || got.Body.String() != digits || got.Header().Get("Content-Range") != "" {
				t.Errorf("%d %q %s (%s)", got.Code, got.Body, got.Header().Get("Content-Range"), got.Header().Get("Cache-Status"))
			}
		})
	}
}

// A part that is shorter or longer than it says is neither kept nor taken for what it says.
func TestTruncatedParts(t *testing.T) {
	for name, body := range map[string]string{"short": "234", "long": "23456"} {
		t.Run(name, func(t *testing.T) {
			d := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", `"a"`)
				w.Header().Set("Cache-Control", "max-age=3600")
				w.Header().Set("Content-Range", "bytes 2-5/10")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, body)
			})
			for range 2 {
				func() {
					defer func() {
						if recover() == nil {
							t.Error("the client was not cut off")
						}
					}()
					if isHit(d.get("http://example.com/", "Range", "bytes=2-5")) {
						t.Error("it was kept")
					}
				}()
			}
		})
	}
}

// What one client asks parts of is no other's: hosts, users and variants stay apart.
func TestPartsAreApart(t *testing.T) {
	d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
		etag, content := `"`+r.Host+r.Header.Get("X-User")+`"`, fmt.Sprintf("%-10.10s", r.Host+r.Header.Get("X-User"))
		w.Header().Set("ETag", etag)
		w.Header().Set("Vary", "X-User")
		w.Header().Set("Cache-Control", "max-age=3600")
		http.ServeContent(w, r, "x.bin", time.Time{}, strings.NewReader(content))
	})
	for _, host := range []string{"a", "b"} {
		for _, user := range []string{"1", "2"} {
			got := d.get("http://"+host+"/", "X-User", user, "Range", "bytes=0-4")
			if want := fmt.Sprintf("%-5.5s", host+user); got.Body.String() != want || isHit(got) {
				t.Errorf("%s %s: %q, want %q", host, user, got.Body, want)
			}
		}
	}
}

// A client that wants two bytes anew does not empty the cache of the whole.
func TestPartsDisplaceNothing(t *testing.T) {
	l := newLibrary(digits)
	d := newDirect(t, l.ServeHTTP)
	d.get("http://a/")
	l.etag = `"b"` // as of another server behind the same name
	d.get("http://a/", "Range", "bytes=2-3", "Cache-Control", "no-cache")
	if got := d.get("http://a/"); !isHit(got) || got.Body.String() != digits {
		t.Errorf("got %q (%s)", got.Body, got.Header().Get("Cache-Status"))
	}
}

// A purge holds for parts, for what was joined of them, and for those that come in meanwhile.
func TestPurgeOfParts(t *testing.T) {
	l := newLibrary(digits)
	l.lines = append(l.lines, "Cache-Tag: x")
	d := newDirect(t, l.ServeHTTP)
	for _, kind := range [][2]string{{"tag", "x"}, {"url", "http://example.com/"}, {"all", ""}} {
		d.get("http://example.com/", "Range", "bytes=2-3")
		d.get("http://example.com/", "Range", "bytes=4-5")
		if !isHit(d.get("http://example.com/", "Range", "bytes=2-5")) {
			t.Fatal("nothing was joined")
		}
		d.purge(t, kind[0], kind[1])
		if isHit(d.get("http://example.com/", "Range", "bytes=2-3")) {
			t.Errorf("a purge of %s missed a part", kind[0])
		}
		d.purge(t, "all", "")
	}
}

// However many ask for whatever parts, while the origin's content changes: nobody gets a byte of two versions in one answer, or
// an answer that is not what its Content-Range and its ETag say.
func TestPartsUnderLoad(t *testing.T) {
	const size = 4000
	var version atomic.Int64
	content := func(v int64) []byte { return bytes.Repeat([]byte{byte('a' + v%26)}, size) }
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		v := version.Load()
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, v))
		w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=1")
		if v%2 == 0 {
			w.Header().Set("Cache-Control", "max-age=1")
		}
		http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(content(v)))
	})
	s := front(t, o)
	url := s.URL(":8080") + "/"
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var group sync.WaitGroup
	var parts, wholes atomic.Int64
	for range 8 {
		group.Go(func() {
			for ctx.Err() == nil {
				first := rand.IntN(size)
				last := min(size-1, first+rand.IntN(size))
				lines := []string{fmt.Sprintf("Range: bytes=%d-%d", first, last)}
				if rand.IntN(8) == 0 {
					lines, first, last = nil, 0, size-1
				}
				resp, err := s.Try(http.MethodGet, url, "", lines...)
				if err != nil {
					continue // cut off, which is no wrong answer
				}
				var v int64
				_, _ = fmt.Sscanf(resp.Header.Get("ETag"), `"%d"`, &v)
				want := content(v)
				switch resp.StatusCode {
				case http.StatusOK:
					wholes.Add(1)
				case http.StatusPartialContent:
					parts.Add(1)
					want = want[first : last+1]
					if got := resp.Header.Get("Content-Range"); got != fmt.Sprintf("bytes %d-%d/%d", first, last, size) {
						t.Errorf("asked for %d-%d, got %s", first, last, got)
					}
				}
				if resp.Body != string(want) {
					t.Errorf("%d %s: %d bytes, want %d of version %d (%s)", resp.StatusCode, resp.Header.Get("Content-Range"), len(resp.Body), len(want), v,
						resp.Header.Get("Cache-Status"))
				}
			}
		})
	}
	for ctx.Err() == nil && (parts.Load() < 1500 || wholes.Load() < 150) {
		version.Add(1)
		if rand.IntN(4) == 0 {
			purge(t, s, `{"kind":"all"}`)
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	group.Wait()
	t.Logf("%d parts, %d wholes, %d requests to the origin", parts.Load(), wholes.Load(), o.hits.Load())
	if parts.Load() == 0 || wholes.Load() == 0 {
		t.Error("nothing was tested")
	}
	eventually(t, "no byte is in flight any more", func() bool {
		return strings.Contains(s.Admin(http.MethodGet, "/gatehouse/cache", "").Body, `"in_flight":0`)
	})
}

// A request for a range takes compression from nobody.
func TestPartsLeaveCompression(t *testing.T) {
	l := newLibrary(strings.Repeat(digits, 1000))
	l.lines = append(l.lines, "Content-Type: text/plain")
	o := newOrigin(t, l.ServeHTTP)
	s := gatehousetest.Start(t, ":8080 {\nresponse_cache\nencode gzip\nreverse_proxy "+o.address()+"\n}")
	for i, r := range []string{"bytes=0-0", "bytes=0-9999", "bytes=-10000"} {
		empty(t, s)
		path := fmt.Sprint("/", i, ".txt")
		if resp := s.Get(path, "Range: "+r, "Accept-Encoding: gzip"); resp.StatusCode != http.StatusPartialContent {
			t.Fatalf("%s: %s", r, resp.Status)
		}
		for range 2 {
			resp := s.Get(path, "Accept-Encoding: gzip")
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Encoding") != "gzip" {
				t.Errorf("after %s: %s %q (%s)", r, resp.Status, resp.Header.Get("Content-Encoding"), resp.Header.Get("Cache-Status"))
			}
		}
	}
}

// However many parts a client asks for, what is whole stays.
func TestPartsDriveOutNothing(t *testing.T) {
	l := newLibrary(strings.Repeat(digits, 100))
	l.lines = append(l.lines, "Vary: X")
	d := newDirect(t, l.ServeHTTP)
	for i := range 6 {
		d.get("http://example.com/", "X", fmt.Sprint(i))
	}
	for i := range 100 {
		d.get("http://example.com/", "X", "evil", "Range", fmt.Sprintf("bytes=%d-%d", 3*i, 3*i))
	}
	for i := range 6 {
		if got := d.get("http://example.com/", "X", fmt.Sprint(i)); !isHit(got) {
			t.Errorf("variant %d was driven out (%s)", i, got.Header().Get("Cache-Status"))
		}
	}
	if !isHit(d.get("http://example.com/", "X", "evil", "Range", "bytes=297-297")) {
		t.Error("the newest part is not there: nothing was tested")
	}
}

// RFC 9211 section 2.2: why the origin was asked.
func TestPartsInCacheStatus(t *testing.T) {
	d := newDirect(t, newLibrary(digits).ServeHTTP)
	for _, step := range []struct{ r, want string }{
		{"bytes=0-3", "Gatehouse; fwd=uri-miss; fwd-status=206; ttl=3"},
		{"bytes=1-2", "Gatehouse; hit; ttl=3"},
		{"bytes=3-5", "Gatehouse; fwd=partial; fwd-status=206"},
		{"bytes=0-", "Gatehouse; fwd=partial; fwd-status=206; ttl=3"},
		{"bytes=9-", "Gatehouse; hit"},
	} {
		got := d.get("http://example.com/", "Range", step.r)
		if status := got.Header().Get("Cache-Status"); !strings.HasPrefix(status, step.want) {
			t.Errorf("%s: %s, want %s", step.r, status, step.want)
		}
	}
}

// A crowd that asks for one part is answered by one request, and a film too large to be stored has its parts stored.
func TestPartsOfAFilm(t *testing.T) {
	l := newLibrary(strings.Repeat(digits, 300_000)) // 3 MB
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		l.ServeHTTP(w, r)
	})
	s := front(t, o, "max_object 1MiB")
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			resp := s.Get("/film", "Range: bytes=1000000-1999999")
			if resp.StatusCode != http.StatusPartialContent || resp.Body != strings.Repeat(digits, 100_000) {
				t.Errorf("%d, %d bytes (%s)", resp.StatusCode, len(resp.Body), resp.Header.Get("Cache-Status"))
			}
		})
	}
	group.Wait()
	if n := o.hits.Load(); n != 1 {
		t.Errorf("%d requests reached the origin, want 1", n)
	}
	if resp := s.Get("/film", "Range: bytes=1500000-1500009"); !cached(resp) || resp.Body != digits {
		t.Errorf("got %q (%s)", resp.Body, resp.Header.Get("Cache-Status"))
	}
	s.Get("/film", "Range: bytes=2000000-2999999") // which touches it, and would be too large together
	for _, at := range []int{1_000_000, 2_999_990} {
		if resp := s.Get("/film", fmt.Sprintf("Range: bytes=%d-%d", at, at+9)); !cached(resp) || resp.Body != digits {
			t.Errorf("at %d got %q (%s)", at, resp.Body, resp.Header.Get("Cache-Status"))
		}
	}
	if resp := s.Get("/film"); cached(resp) || len(resp.Body) != 3_000_000 {
		t.Errorf("the whole: %d bytes (%s)", len(resp.Body), resp.Header.Get("Cache-Status"))
	}
}

// Where the origin knows no ranges, the whole is fetched, stored and cut here.
func TestOriginWithoutRanges(t *testing.T) {
	o := newOrigin(t, header(digits, "Cache-Control: max-age=3600"))
	s := front(t, o)
	for i, want := range []struct {
		status int
		body   string
		hit    bool
	}{{200, digits, false}, {206, "56", false}, {206, "56", true}} {
		resp := s.Get("/", "Range: bytes=5-6")
		if resp.StatusCode != want.status || resp.Body != want.body || cached(resp) != want.hit {
			t.Errorf("request %d: %d %q (%s)", i+1, resp.StatusCode, resp.Body, resp.Header.Get("Cache-Status"))
		}
	}
}
