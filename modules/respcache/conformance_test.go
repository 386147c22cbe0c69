// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// exchange is one request of a case: what the client sends, what the origin would answer, and what the client must get.
type exchange struct {
	method  string   // default GET
	request []string // header lines of the client
	path    string   // beside the case's own; default none

	answer []string // header lines of the origin; "status 404" sets the status
	body   string   // of the origin; default "body"

	from   from     // who must have answered
	status int      // that the client must get; default 200
	want   []string // "Name: value" that must be there, "Name:" that must not
	text   string   // body that the client must get; default is not to look
	sent   []string // header lines that the origin must have got, or "Name:" for none
}

type from uint8

const (
	origins  from = iota // the origin was asked, and its answer used
	store                // the origin was not asked
	checked              // the origin was asked, answered 304, and the stored answer was used
	anywhere             // not looked at
)

// conformance is what the standards require, a table a section. Each case has a URI of its own.
var now = time.Now()

func ago(d time.Duration) string { return stamp(now.Add(-d)) }

func in(d time.Duration) string { return stamp(now.Add(d)) }

// section is the cases of one section of a standard.
type section struct {
	name  string
	cases map[string][]exchange
}

func sections() []section {
	fresh := []string{"Cache-Control: max-age=3600"}
	again := exchange{answer: fresh, from: store}
	stale := []string{"Cache-Control: max-age=10", "Age: 20", `ETag: "a"`}
	return []section{
		{"RFC 9111 section 3: storing responses", map[string][]exchange{
			"max-age":                        {{answer: fresh}, again},
			"Expires":                        {{answer: []string{"Expires: " + in(time.Hour), "Date: " + ago(0)}}, again},
			"s-maxage":                       {{answer: []string{"Cache-Control: s-maxage=3600, max-age=0"}}, again},
			"public alone is no lifetime":    {{answer: []string{"Cache-Control: public"}}, {answer: fresh, from: origins}},
			"no-store":                       {{answer: []string{"Cache-Control: no-store, max-age=3600"}}, {answer: fresh, from: origins}},
			"private":                        {{answer: []string{"Cache-Control: private, max-age=3600"}}, {answer: fresh, from: origins}},
			"request no-store":               {{request: []string{"Cache-Control: no-store"}, answer: fresh}, {answer: fresh, from: origins}},
			"404 with explicit freshness":    {{answer: []string{"status 404", "Cache-Control: max-age=3600"}, status: 404}, {from: store, status: 404}},
			"503 with explicit freshness":    {{answer: []string{"status 503", "Cache-Control: max-age=3600"}, status: 503}, {from: store, status: 503}},
			"302 with explicit freshness":    {{answer: []string{"status 302", "Location: /x", "Cache-Control: max-age=3600"}, status: 302}, {from: store, status: 302, want: []string{"Location: /x"}}},
			"204 with explicit freshness":    {{answer: []string{"status 204", "Cache-Control: max-age=3600"}, status: 204}, {from: store, status: 204}},
			"500 without":                    {{answer: []string{"status 500"}, status: 500}, {answer: []string{"status 500"}, from: origins, status: 500}},
			"POST is not stored":             {{method: "POST", answer: fresh}, {answer: fresh, from: origins}},
			"must-understand beats no-store": {{answer: []string{"Cache-Control: must-understand, no-store, max-age=3600"}}, again},
			"must-understand of an unknown status": {
				{answer: []string{"status 299", "Cache-Control: must-understand, max-age=3600"}, status: 299},
				{answer: fresh, from: origins},
			},
		}},
		{"RFC 9111 section 3.1: header fields", map[string][]exchange{
			"fields are kept": {
				{answer: append([]string{"X-A: 1", "X-A: 2", "Content-Type: text/x"}, fresh...)},
				{from: store, want: []string{"X-A: 1", "Content-Type: text/x"}},
			},
			"fields of the connection are not": {
				{answer: append([]string{"Connection: X-Hop", "X-Hop: 1", "X-Keep: 1"}, fresh...)},
				{from: store, want: []string{"X-Hop:", "X-Keep: 1"}},
			},
			"Set-Cookie is neither kept nor is its answer": {
				{answer: append([]string{"Set-Cookie: a=b"}, fresh...), want: []string{"Set-Cookie: a=b"}},
				{answer: fresh, from: origins, want: []string{"Set-Cookie:"}},
			},
		}},
		{"RFC 9111 section 3.3 and 3.4: partial content", map[string][]exchange{
			"206 is not used for the whole": {
				{request: []string{"Range: bytes=2-3"}, answer: append([]string{"status 206", "Content-Range: bytes 2-3/10"}, fresh...), body: "23", status: 206},
				{answer: fresh, body: "0123456789", from: origins, text: "0123456789"},
			},
			"a part of the whole": {
				{answer: fresh, body: "0123456789"},
				{request: []string{"Range: bytes=2-3"}, from: store, status: 206, text: "23", want: []string{"Content-Range: bytes 2-3/10", "Content-Length: 2"}},
				{request: []string{"Range: bytes=-2"}, from: store, status: 206, text: "89"},
				{request: []string{"Range: bytes=8-"}, from: store, status: 206, text: "89"},
				{request: []string{"Range: bytes=10-"}, from: store, status: 416, text: "", want: []string{"Content-Range: bytes */10"}},
				{request: []string{"Range: nonsense"}, from: store, text: "0123456789"},
			},
			"If-Range": {
				{answer: append([]string{`ETag: "a"`}, fresh...), body: "0123456789"},
				{request: []string{"Range: bytes=2-3", `If-Range: "a"`}, from: store, status: 206, text: "23"},
				{request: []string{"Range: bytes=2-3", `If-Range: "b"`}, from: store, status: 200, text: "0123456789"},
			},
			"a range from the beginning fetches the whole": {
				{request: []string{"Range: bytes=0-"}, answer: fresh, body: "0123456789", status: 206, text: "0123456789", sent: []string{"Range:"}},
				{from: store, text: "0123456789"},
			},
			"a range from the middle is passed on": {
				{request: []string{"Range: bytes=5-6"}, answer: append([]string{"status 206", "Content-Range: bytes 5-6/10"}, fresh...), body: "56", status: 206, sent: []string{"Range: bytes=5-6"}},
			},
		}},
		{"RFC 9111 section 3.5: authenticated requests", map[string][]exchange{
			"not stored":      {{request: []string{"Authorization: a"}, answer: fresh}, {request: []string{"Authorization: b"}, answer: fresh, from: origins}},
			"public":          {{request: []string{"Authorization: a"}, answer: []string{"Cache-Control: public, max-age=3600"}}, again},
			"s-maxage":        {{request: []string{"Authorization: a"}, answer: []string{"Cache-Control: s-maxage=3600"}}, again},
			"must-revalidate": {{request: []string{"Authorization: a"}, answer: []string{"Cache-Control: must-revalidate, max-age=3600"}}, again},
		}},
		{"RFC 9111 section 4.1: Vary", map[string][]exchange{
			"the same": {
				{request: []string{"A: 1"}, answer: append([]string{"Vary: A"}, fresh...)},
				{request: []string{"A: 1"}, from: store},
			},
			"another": {
				{request: []string{"A: 1"}, answer: append([]string{"Vary: A"}, fresh...)},
				{request: []string{"A: 2"}, answer: append([]string{"Vary: A"}, fresh...), from: origins},
				{request: []string{"A: 1"}, from: store},
				{request: []string{"A: 2"}, from: store},
				{answer: append([]string{"Vary: A"}, fresh...), from: origins},
			},
			"*":              {{answer: append([]string{"Vary: *"}, fresh...)}, {answer: fresh, from: origins}},
			"* among others": {{answer: append([]string{"Vary: A, *"}, fresh...)}, {answer: fresh, from: origins}},
			"Cookie": {
				{request: []string{"Cookie: a=1"}, answer: append([]string{"Vary: Cookie"}, fresh...)},
				{request: []string{"Cookie: a=2"}, answer: append([]string{"Vary: Cookie"}, fresh...), from: origins},
			},
		}},
		{"RFC 9111 section 4.2: freshness", map[string][]exchange{
			"Age counts":                         {{answer: []string{"Cache-Control: max-age=3600", "Age: 3601"}}, {answer: fresh, from: origins}},
			"Date counts":                        {{answer: []string{"Cache-Control: max-age=3600", "Date: " + ago(2*time.Hour)}}, {answer: fresh, from: origins}},
			"Age is told":                        {{answer: append([]string{"Age: 100"}, fresh...)}, {from: store, want: []string{"Age: 100"}}},
			"malformed max-age is stale":         {{answer: []string{"Cache-Control: max-age=3600x"}}, {answer: fresh, from: origins}},
			"negative max-age is stale":          {{answer: []string{"Cache-Control: max-age=-5"}}, {answer: fresh, from: origins}},
			"malformed Expires is stale":         {{answer: []string{"Expires: 0", "Last-Modified: " + ago(1000*time.Hour)}}, {answer: fresh, from: origins}},
			"s-maxage beats max-age and Expires": {{answer: []string{"Cache-Control: max-age=3600, s-maxage=0", "Expires: " + in(time.Hour)}}, {answer: fresh, from: origins}},
			"heuristic of Last-Modified":         {{answer: []string{"Last-Modified: " + ago(1000*time.Hour)}}, {from: store}},
			"no heuristic for a status without":  {{answer: []string{"status 403", "Last-Modified: " + ago(1000*time.Hour)}, status: 403}, {answer: fresh, from: origins}},
			"request max-age":                    {{answer: append([]string{"Age: 100"}, fresh...)}, {request: []string{"Cache-Control: max-age=50"}, answer: fresh, from: origins}},
			"request max-age, young enough":      {{answer: append([]string{"Age: 100"}, fresh...)}, {request: []string{"Cache-Control: max-age=200"}, from: store}},
			"request min-fresh":                  {{answer: append([]string{"Age: 3500"}, fresh...)}, {request: []string{"Cache-Control: min-fresh=200"}, answer: fresh, from: origins}},
			"request max-stale":                  {{answer: []string{"Cache-Control: max-age=100", "Age: 150", `ETag: "a"`}}, {request: []string{"Cache-Control: max-stale=100"}, from: store}},
			"request max-stale, must-revalidate": {{answer: []string{"Cache-Control: max-age=100, must-revalidate", "Age: 150", `ETag: "a"`}}, {request: []string{"Cache-Control: max-stale=100"}, answer: fresh, from: origins}},
			"request no-cache":                   {{answer: fresh}, {request: []string{"Cache-Control: no-cache"}, answer: fresh, from: origins}},
			"request Pragma":                     {{answer: fresh}, {request: []string{"Pragma: no-cache"}, answer: fresh, from: origins}},
			"only-if-cached, nothing stored":     {{request: []string{"Cache-Control: only-if-cached"}, from: store, status: 504}},
			"only-if-cached":                     {{answer: fresh}, {request: []string{"Cache-Control: only-if-cached"}, from: store}},
		}},
		{"RFC 9111 section 4.3: validation", map[string][]exchange{
			"by ETag": {
				{answer: []string{"Cache-Control: max-age=0", `ETag: "a"`}, body: "one"},
				{answer: []string{"status 304", `ETag: "a"`, "Cache-Control: max-age=0"}, from: checked, text: "one", sent: []string{`If-None-Match: "a"`}},
			},
			"by Last-Modified": {
				{answer: []string{"Cache-Control: max-age=0", "Last-Modified: " + ago(time.Hour)}, body: "one"},
				{answer: []string{"status 304"}, from: checked, text: "one", sent: []string{"If-Modified-Since: " + ago(time.Hour)}},
			},
			"a new answer": {
				{answer: []string{"Cache-Control: max-age=0", `ETag: "a"`}, body: "one"},
				{answer: []string{"Cache-Control: max-age=3600", `ETag: "b"`}, body: "two", from: origins, text: "two"},
				{from: store, text: "two"},
			},
			"a 304 freshens": {
				{answer: []string{"Cache-Control: max-age=0", `ETag: "a"`, "X-A: 1", "X-B: 1"}, body: "one"},
				{answer: []string{"status 304", `ETag: "a"`, "Cache-Control: max-age=3600", "X-A: 2"}, from: checked, want: []string{"X-A: 2", "X-B: 1"}},
				{from: store, text: "one", want: []string{"X-A: 2", "X-B: 1"}},
			},
			"a 304 for another answer": {
				{answer: []string{"Cache-Control: max-age=0", `ETag: "a"`}, body: "one"},
				{answer: []string{"unless-asked", `ETag: "b"`, "Cache-Control: max-age=3600"}, body: "two", from: origins, text: "two"},
			},
			"no-cache is validated each time": {
				{answer: []string{"Cache-Control: no-cache, max-age=3600", `ETag: "a"`}, body: "one"},
				{answer: []string{"status 304", `ETag: "a"`}, from: checked, text: "one"},
				{answer: []string{"status 304", `ETag: "a"`}, from: checked, text: "one"},
			},
			"Set-Cookie of a 304 is for this client": {
				{answer: []string{"Cache-Control: max-age=0", `ETag: "a"`}, body: "one"},
				{answer: []string{"status 304", `ETag: "a"`, "Cache-Control: max-age=3600", "Set-Cookie: a=b"}, from: checked, want: []string{"Set-Cookie: a=b"}},
				{from: store, want: []string{"Set-Cookie:"}},
			},
		}},
		{"RFC 9111 section 4.3.2: conditions of clients", map[string][]exchange{
			"If-None-Match": {
				{answer: append([]string{`ETag: "a"`, "Content-Type: text/x"}, fresh...)},
				{request: []string{`If-None-Match: "x", W/"a"`}, from: store, status: 304, want: []string{`ETag: "a"`, "Content-Type:", "Content-Length:"}},
				{request: []string{`If-None-Match: "b"`}, from: store, status: 200},
			},
			"If-Modified-Since": {
				{answer: append([]string{"Last-Modified: " + ago(time.Hour)}, fresh...)},
				{request: []string{"If-Modified-Since: " + ago(time.Hour)}, from: store, status: 304},
				{request: []string{"If-Modified-Since: " + ago(2*time.Hour)}, from: store, status: 200},
			},
			"If-Modified-Since without Last-Modified": {
				{answer: append([]string{"Date: " + ago(time.Minute)}, fresh...)},
				{request: []string{"If-Modified-Since: " + ago(0)}, from: store, status: 304},
			},
			"a conditional request fills the cache": {
				{request: []string{`If-None-Match: "a"`}, answer: append([]string{`ETag: "a"`}, fresh...), body: "one", status: 304, sent: []string{"If-None-Match:"}},
				{from: store, text: "one"},
			},
			"If-Match is for the origin": {
				{answer: append([]string{`ETag: "a"`}, fresh...)},
				{request: []string{`If-Match: "b"`}, answer: []string{"status 412"}, from: origins, status: 412},
			},
		}},
		{"RFC 9111 section 4.4: invalidation", map[string][]exchange{
			"POST":                        {{answer: fresh}, {method: "POST"}, {answer: fresh, from: origins}},
			"PUT":                         {{answer: fresh}, {method: "PUT"}, {answer: fresh, from: origins}},
			"DELETE":                      {{answer: fresh}, {method: "DELETE"}, {answer: fresh, from: origins}},
			"unknown":                     {{answer: fresh}, {method: "FROB"}, {answer: fresh, from: origins}},
			"an error does not":           {{answer: fresh}, {method: "POST", answer: []string{"status 500"}, status: 500}, again},
			"OPTIONS does not":            {{answer: fresh}, {method: "OPTIONS"}, again},
			"Location":                    {{path: "/x", answer: fresh}, {method: "POST", answer: []string{"status 201", "Location: {case}/x"}, status: 201}, {path: "/x", answer: fresh, from: origins}},
			"Content-Location":            {{path: "/x", answer: fresh}, {method: "POST", answer: []string{"Content-Location: {case}/x"}}, {path: "/x", answer: fresh, from: origins}},
			"Location elsewhere does not": {{path: "/x", answer: fresh}, {method: "POST", answer: []string{"status 201", "Location: http://other.example{case}/x"}, status: 201}, {path: "/x", from: store}},
		}},
		{"RFC 9111 section 5.2.2: response directives", map[string][]exchange{
			"private for fields":  {{answer: []string{`Cache-Control: private="X-A", max-age=3600`, "X-A: 1", "X-B: 1"}}, {from: store, want: []string{"X-A:", "X-B: 1"}}},
			"no-cache for fields": {{answer: []string{`Cache-Control: no-cache="X-A", max-age=3600`, "X-A: 1", "X-B: 1"}}, {from: store, want: []string{"X-A:", "X-B: 1"}}},
			"quoted text is none": {{answer: []string{`Cache-Control: ext="no-store", max-age=3600`}}, again},
		}},
		{"RFC 9110 section 9.3.2: HEAD", map[string][]exchange{
			"from a stored GET": {{answer: fresh, body: "0123456789"}, {method: "HEAD", from: store, want: []string{"Content-Length: 10"}}},
			"is not stored":     {{method: "HEAD", answer: fresh}, {answer: fresh, from: origins, body: "x", text: "x"}},
		}},
		{"RFC 9111 section 4.3.5: freshening with HEAD", map[string][]exchange{
			"the same": {
				{answer: stale, body: "0123456789"},
				{method: "HEAD", answer: append([]string{`ETag: "a"`, "X-A: 1"}, fresh...), body: "0123456789"},
				{from: store, text: "0123456789", want: []string{"X-A: 1"}},
			},
			"no validator says nothing": {
				{answer: stale, body: "0123456789"},
				{method: "HEAD", answer: fresh, body: "0123456789"},
				{answer: append([]string{"status 304", `ETag: "a"`}, fresh...), from: checked, text: "0123456789"},
			},
			"another tag": {
				{answer: stale, body: "0123456789"},
				{method: "HEAD", answer: append([]string{`ETag: "b"`}, fresh...), body: "0123456789"},
				{answer: fresh, body: "x", from: origins, text: "x", sent: []string{"If-None-Match:"}},
			},
			"another length": {
				{answer: stale, body: "0123456789"},
				{method: "HEAD", answer: append([]string{`ETag: "a"`}, fresh...), body: "01234567890"},
				{answer: fresh, body: "x", from: origins, text: "x", sent: []string{"If-None-Match:"}},
			},
			"an error says nothing": {
				{answer: stale, body: "0123456789"},
				{method: "HEAD", answer: []string{"status 404", `ETag: "b"`}, status: 404},
				{answer: append([]string{"status 304", `ETag: "a"`}, fresh...), from: checked, text: "0123456789", sent: []string{`If-None-Match: "a"`}},
			},
			"a client does not take what is fresh from others": {
				{answer: append([]string{`ETag: "a"`}, fresh...), body: "0123456789"},
				{method: "HEAD", request: []string{"Cache-Control: no-cache"}, answer: append([]string{`ETag: "b"`}, fresh...)},
				{from: store, text: "0123456789"},
			},
		}},
		{"RFC 9213: targeted cache control", map[string][]exchange{
			"CDN-Cache-Control wins":     {{answer: []string{"CDN-Cache-Control: max-age=3600", "Cache-Control: no-store"}}, again},
			"its no-store too":           {{answer: []string{"CDN-Cache-Control: no-store", "Cache-Control: max-age=3600"}}, {answer: fresh, from: origins}},
			"its private too":            {{answer: []string{"CDN-Cache-Control: private", "Cache-Control: max-age=3600"}}, {answer: fresh, from: origins}},
			"a malformed one is ignored": {{answer: []string{"CDN-Cache-Control: max-age=3600,,", "Cache-Control: no-store"}}, {answer: fresh, from: origins}},
			"it is passed on":            {{answer: []string{"CDN-Cache-Control: max-age=3600"}}, {from: store, want: []string{"CDN-Cache-Control: max-age=3600"}}},
		}},
		{"RFC 5861: stale content", map[string][]exchange{
			"stale-if-error": {
				{answer: []string{"Cache-Control: max-age=10, stale-if-error=3600", "Age: 20"}, body: "one"},
				{answer: []string{"status 503"}, from: anywhere, status: 200, text: "one"},
			},
			"not without": {
				{answer: []string{"Cache-Control: max-age=10", "Age: 20", `ETag: "a"`}, body: "one"},
				{answer: []string{"status 503"}, from: origins, status: 503},
			},
			"not with must-revalidate": {
				{answer: []string{"Cache-Control: max-age=10, stale-if-error=3600, must-revalidate", "Age: 20", `ETag: "a"`}, body: "one"},
				{answer: []string{"status 503"}, from: origins, status: 503},
			},
			"404 is no error": {
				{answer: []string{"Cache-Control: max-age=10, stale-if-error=3600", "Age: 20"}, body: "one"},
				{answer: []string{"status 404"}, from: origins, status: 404},
			},
			"stale-while-revalidate": {
				{answer: []string{"Cache-Control: max-age=10, stale-while-revalidate=3600", "Age: 20"}, body: "one"},
				{answer: fresh, body: "two", from: anywhere, text: "one", want: []string{"Age: 20"}},
			},
		}},
		{"RFC 9211: Cache-Status", map[string][]exchange{
			"miss and hit": {
				{answer: fresh, want: []string{"Cache-Status: Gatehouse; fwd=uri-miss; fwd-status=200; ttl=3"}},
				{from: store, want: []string{"Cache-Status: Gatehouse; hit; ttl=3"}},
			},
			"not stored":         {{answer: []string{"Cache-Control: no-store"}, want: []string{"Cache-Status: Gatehouse; fwd=uri-miss; fwd-status=200"}}},
			"another method":     {{method: "POST", want: []string{"Cache-Status: Gatehouse; fwd=method; fwd-status=200"}}},
			"another variant":    {{request: []string{"A: 1"}, answer: append([]string{"Vary: A"}, fresh...)}, {request: []string{"A: 2"}, answer: fresh, want: []string{"Cache-Status: Gatehouse; fwd=vary-miss"}}},
			"stale":              {{answer: []string{"Cache-Control: max-age=0", `ETag: "a"`}}, {answer: []string{"status 304"}, from: checked, want: []string{"Cache-Status: Gatehouse; fwd=stale; fwd-status=304"}}},
			"the request's wish": {{answer: fresh}, {request: []string{"Cache-Control: no-cache"}, answer: fresh, want: []string{"Cache-Status: Gatehouse; fwd=request"}}},
		}},
		{"RFC 9875: cache groups", map[string][]exchange{
			"an unsafe request invalidates a group": {
				{path: "/x", answer: append([]string{`Cache-Groups: "g-{id}"`}, fresh...)},
				{path: "/y", answer: append([]string{`Cache-Groups: "h-{id}"`}, fresh...)},
				{method: "POST", answer: []string{`Cache-Group-Invalidation: "g-{id}"`}},
				{path: "/x", answer: fresh, from: origins},
				{path: "/y", from: store},
			},
			"a safe one does not": {
				{path: "/x", answer: append([]string{`Cache-Groups: "g-{id}"`}, fresh...)},
				{answer: []string{`Cache-Group-Invalidation: "g-{id}"`}},
				{path: "/x", from: store},
			},
		}},
		{"No-Vary-Search", map[string][]exchange{
			"params": {
				{path: "?a=1&b=1", answer: append([]string{`No-Vary-Search: params=("b")`}, fresh...)},
				{path: "?a=1&b=2", answer: append([]string{`No-Vary-Search: params=("b")`}, fresh...), from: anywhere},
				{path: "?a=1&b=3", from: store},
				{path: "?a=2&b=1", answer: fresh, from: origins},
			},
		}},
	}
}

// askedOf is what an origin was asked, by case: some ask in the background, and their requests may come while another case runs.
type askedOf struct {
	mu    sync.Mutex // guards cases
	cases map[string][]http.Header
}

func (a *askedOf) add(id string, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cases[id] = append(a.cases[id], r.Header.Clone())
}

// of returns the headers of a case's requests so far.
func (a *askedOf) of(id string) []http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cases[id]
}

func TestConformance(t *testing.T) {
	var current atomic.Pointer[exchange]
	asked := askedOf{cases: map[string][]http.Header{}}
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		id := strings.Split(r.URL.Path, "/")[1]
		asked.add(id, r)
		e := current.Load()
		status := http.StatusOK
		for _, line := range e.answer {
			line = strings.NewReplacer("{case}", "/"+id, "{id}", id).Replace(line)
			switch name, value, _ := strings.Cut(line, ": "); {
			case strings.HasPrefix(line, "status "):
				status, _ = strconv.Atoi(strings.TrimPrefix(line, "status "))
			case line == "disconnect":
				panic(http.ErrAbortHandler)
			case line == "unless-asked":
				if len(r.Header["If-None-Match"]) > 0 {
					status = http.StatusNotModified
				}
			default:
				w.Header().Add(name, value)
			}
		}
		body := e.body
		if body == "" {
			body = "body"
		}
		w.WriteHeader(status)
		if status >= 200 && status != 204 && status != 304 {
			_, _ = io.WriteString(w, body)
		}
	})
	s := front(t, o, "store_posts")
	n := 0
	for _, sec := range allSections() {
		t.Run(sec.name, func(t *testing.T) {
			for name, exchanges := range sec.cases {
				n++
				id := fmt.Sprintf("c%d", n)
				t.Run(name, func(t *testing.T) {
					for i := range exchanges {
						current.Store(&exchanges[i])
						runExchange(t, s, &asked, id, i+1, &exchanges[i])
					}
				})
			}
		})
	}
}

func runExchange(t *testing.T, s *gatehousetest.Server, origin *askedOf, id string, n int, e *exchange) {
	t.Helper()
	method, status := e.method, e.status
	if method == "" {
		method = http.MethodGet
	}
	if status == 0 {
		status = http.StatusOK
	}
	before := len(origin.of(id))
	resp := s.Do(method, s.URL(":8080")+"/"+id+e.path, "", e.request...)
	requests := origin.of(id)
	asked := len(requests) > before
	if e.from != anywhere && asked != (e.from != store) {
		t.Errorf("exchange %d: the origin was asked: %v; Cache-Status: %s", n, asked, resp.Header.Get("Cache-Status"))
	}
	if resp.StatusCode != status {
		t.Errorf("exchange %d: got %s, want %d; Cache-Status: %s", n, resp.Status, status, resp.Header.Get("Cache-Status"))
	}
	if e.text != "" && resp.Body != e.text {
		t.Errorf("exchange %d: got %q, want %q", n, resp.Body, e.text)
	}
	for _, want := range e.want {
		name, value, _ := strings.Cut(want, ":")
		value = strings.TrimSpace(value)
		got := resp.Header.Get(name)
		if value == "" && len(resp.Header.Values(name)) > 0 || value != "" && !strings.HasPrefix(got, value) {
			t.Errorf("exchange %d: %s is %q, want %q", n, name, got, value)
		}
	}
	for _, want := range e.sent {
		name, value, _ := strings.Cut(want, ": ")
		name = strings.TrimSuffix(name, ":")
		if !asked {
			t.Fatalf("exchange %d: the origin got nothing", n)
		}
		if got := requests[len(requests)-1].Get(name); got != value {
			t.Errorf("exchange %d: the origin got %s %q, want %q", n, name, got, value)
		}
	}
}
