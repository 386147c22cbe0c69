// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults and bounds of GET /cache/{kind}.
const (
	defaultAge   = 60
	maxAge       = 365 * 24 * 3600
	largeBody    = 8 << 20
	maxCacheBody = 1 << 30
)

// cacheKind is one kind of caching instructions.
type cacheKind struct {
	name    string
	headers []string // "Name: value"; {age}, {expires}, {serial}, {name} are filled in

	etag         string // form of the validator with {version}, or empty
	lastModified bool
	perLanguage  bool // the text depends on Accept-Language
	perUser      bool // the text depends on Authorization and Cookie
	chunked      bool
	size         int64 // 0: one line of text
}

// cacheKinds is the table of kinds, in the order that GET /cache lists them.
func cacheKinds() []cacheKind {
	const strong, weak = `"{version}"`, `W/"{version}"`
	return []cacheKind{
		{name: "plain"},
		{name: "max-age", headers: []string{"Cache-Control: public, max-age={age}"}},
		{name: "s-maxage", headers: []string{"Cache-Control: max-age=0, s-maxage={age}"}},
		{name: "cdn", headers: []string{"Cache-Control: no-store", "CDN-Cache-Control: max-age={age}"}},
		{name: "expires", headers: []string{"Expires: {expires}"}},
		{name: "etag", headers: []string{"Cache-Control: max-age={age}"}, etag: strong},
		{name: "weak-etag", headers: []string{"Cache-Control: max-age={age}"}, etag: weak},
		{name: "last-modified", headers: []string{"Cache-Control: max-age={age}"}, lastModified: true},
		{name: "heuristic", lastModified: true},
		{name: "no-cache", headers: []string{"Cache-Control: no-cache"}, etag: strong},
		{name: "must-revalidate", headers: []string{"Cache-Control: max-age={age}, must-revalidate"}, etag: strong},
		{
			name: "stale-while-revalidate", etag: strong,
			headers: []string{"Cache-Control: max-age={age}, stale-while-revalidate=60"},
		},
		{name: "stale-if-error", headers: []string{"Cache-Control: max-age={age}, stale-if-error=60"}, etag: strong},
		{name: "immutable", headers: []string{"Cache-Control: public, max-age=31536000, immutable"}, etag: strong},
		{name: "no-store", headers: []string{"Cache-Control: no-store"}},
		{name: "private", headers: []string{"Cache-Control: private, max-age={age}"}, perUser: true},
		{name: "vary", headers: []string{"Cache-Control: max-age={age}", "Vary: Accept-Language"}, perLanguage: true},
		{name: "vary-star", headers: []string{"Cache-Control: max-age={age}", "Vary: *"}},
		{
			name: "set-cookie", perUser: true,
			headers: []string{"Cache-Control: max-age={age}", "Set-Cookie: session={serial}; Path=/; HttpOnly"},
		},
		{
			name:    "tags",
			headers: []string{"Cache-Control: max-age={age}", "Cache-Tag: {name},origin", "Surrogate-Key: {name} origin"},
		},
		{name: "chunked", headers: []string{"Cache-Control: max-age={age}"}, chunked: true},
		{name: "large", headers: []string{"Cache-Control: max-age={age}"}, etag: strong, size: largeBody},
		{
			name: "ranges", headers: []string{"Cache-Control: max-age={age}"},
			etag: strong, lastModified: true, size: 64 << 10,
		},
	}
}

// cache serves the cacheable resources: one a kind, each with a version that a POST moves on.
type cache struct {
	kinds    []cacheKind
	versions []atomic.Int64 // by index of kinds
	began    time.Time
	serial   atomic.Int64
}

func newCache(now time.Time) *cache {
	kinds := cacheKinds()
	return &cache{kinds: kinds, versions: make([]atomic.Int64, len(kinds)), began: now.Truncate(time.Second)}
}

// find answers 404 itself if there is no such kind.
func (c *cache) find(w http.ResponseWriter, r *http.Request) (index int, ok bool) {
	name := r.PathValue("kind")
	index = slices.IndexFunc(c.kinds, func(k cacheKind) bool { return k.name == name })
	if index < 0 {
		http.Error(w, fmt.Sprintf("no kind %q; GET /cache lists them", name), http.StatusNotFound)
	}
	return index, index >= 0
}

// serve sends the resource of a kind. X-Origin-Serial numbers the responses made here: a copy from a cache repeats one.
func (c *cache) serve(w http.ResponseWriter, r *http.Request) {
	index, ok := c.find(w, r)
	if !ok {
		return
	}
	kind, version := c.kinds[index], c.versions[index].Load()+1
	q := r.URL.Query()
	age, err := intParam(q, "age", defaultAge, 0, maxAge)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	size, err := intParam(q, "size", kind.size, 0, maxCacheBody)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	serial := strconv.FormatInt(c.serial.Add(1), 10)
	w.Header().Set("X-Origin-Serial", serial)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	kind.fill(w.Header(), strings.NewReplacer(
		"{age}", strconv.FormatInt(age, 10),
		"{expires}", time.Now().Add(time.Duration(age)*time.Second).UTC().Format(http.TimeFormat),
		"{serial}", serial,
		"{name}", kind.name,
		"{version}", kind.name+"-"+strconv.FormatInt(version, 10),
	))
	body := kind.body(kind.text(r, version), size)
	if kind.chunked {
		sendPieces(w, r, body, pace{piece: defaultPiece})
		return
	}
	http.ServeContent(w, r, "", c.modified(kind, version), body)
}

// fill sets the headers of the kind.
func (k cacheKind) fill(h http.Header, values *strings.Replacer) {
	for _, line := range k.headers {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = []string{values.Replace(value)} // as written: CDN-Cache-Control has no canonical form in Go
	}
	if k.etag != "" {
		h.Set("ETag", values.Replace(k.etag))
	}
}

// text is the body of a small resource, and what a large one is made from.
func (k cacheKind) text(r *http.Request, version int64) string {
	text := fmt.Sprintf("%s, version %d", k.name, version)
	if k.perLanguage {
		text += fmt.Sprintf(", language %q", r.Header.Get("Accept-Language"))
	}
	if k.perUser {
		text += fmt.Sprintf(", authorization %q, cookie %q", r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	}
	return text + "\n"
}

// body is the text itself, or noise that is different for each text.
func (k cacheKind) body(text string, size int64) io.ReadSeeker {
	if size == 0 {
		return strings.NewReader(text)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // a hash never fails
	return &noise{size: size, seed: h.Sum64()}
}

// modified lies a day in the past, so that a heuristic lifetime (RFC 9111 section 4.2.2: commonly a tenth of the age)
// lasts longer than a test, and moves on by a minute a version, so that versions of one second differ.
func (c *cache) modified(kind cacheKind, version int64) time.Time {
	if !kind.lastModified {
		return time.Time{}
	}
	return c.began.Add(-24*time.Hour + time.Duration(version)*time.Minute)
}

// changed is the answer to POST /cache/{kind}.
type changed struct {
	Kind    string `json:"kind"`
	Version int64  `json:"version"` // that GET sends from now on
}

// serveChange moves the version on: the unsafe method that invalidates a stored copy (RFC 9111 section 4.4), and the
// change that a revalidation finds.
func (c *cache) serveChange(w http.ResponseWriter, r *http.Request) {
	index, ok := c.find(w, r)
	if !ok {
		return
	}
	version := c.versions[index].Add(1) + 1
	writeJSON(w, http.StatusOK, changed{Kind: c.kinds[index].name, Version: version})
}

func (c *cache) serveKinds(w http.ResponseWriter, _ *http.Request) {
	names := make([]string, 0, len(c.kinds))
	for _, k := range c.kinds {
		names = append(names, k.name)
	}
	writeJSON(w, http.StatusOK, names)
}
