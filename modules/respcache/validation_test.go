// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// RFC 9111 section 4.3.2 with RFC 9110 sections 13.1.2 and 13.1.3.
func TestNotModified(t *testing.T) {
	for _, test := range []struct {
		name    string
		request []string
		stored  []string
		want    bool
	}{
		{"no condition", nil, []string{`ETag: "a"`}, false},
		{"the tag", []string{`If-None-Match: "a"`}, []string{`ETag: "a"`}, true},
		{"another tag", []string{`If-None-Match: "b"`}, []string{`ETag: "a"`}, false},
		{"weakly", []string{`If-None-Match: W/"a"`}, []string{`ETag: "a"`}, true},
		{"weakly, the other way", []string{`If-None-Match: "a"`}, []string{`ETag: W/"a"`}, true},
		{"one of a list", []string{`If-None-Match: "x", W/"a" , "y"`}, []string{`ETag: "a"`}, true},
		{"one of two lines", []string{`If-None-Match: "x"`, `If-None-Match: "a"`}, []string{`ETag: "a"`}, true},
		{"a comma within a tag", []string{`If-None-Match: "a,b"`}, []string{`ETag: "a,b"`}, true},
		{"any", []string{"If-None-Match: *"}, nil, true},
		{"no tag is stored", []string{`If-None-Match: "a"`}, nil, false},
		{"the tag decides", []string{`If-None-Match: "b"`, "If-Modified-Since: " + stamp(noon)}, []string{`ETag: "a"`, "Last-Modified: " + stamp(noon)}, false},
		{"malformed", []string{`If-None-Match: "a`}, []string{`ETag: "a"`}, false},
		{"since", []string{"If-Modified-Since: " + stamp(noon)}, []string{"Last-Modified: " + stamp(noon)}, true},
		{"modified later", []string{"If-Modified-Since: " + stamp(noon)}, []string{"Last-Modified: " + stamp(noon.Add(time.Second))}, false},
		{"since, by Date", []string{"If-Modified-Since: " + stamp(noon)}, []string{"Date: " + stamp(noon)}, true},
		{"since, by when it came", []string{"If-Modified-Since: " + stamp(noon)}, nil, true},
		{"since no date", []string{"If-Modified-Since: yesterday"}, []string{"Last-Modified: " + stamp(noon)}, false},
	} {
		if got := notModified(headerOf(test.request...), stored(test.stored...), noon); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// RFC 9111 section 4.3.4 and 3.2.
func TestFreshening(t *testing.T) {
	for _, test := range []struct {
		name           string
		update, stored []string
		want           bool
	}{
		{"no validator", nil, []string{`ETag: "a"`}, true},
		{"the strong one", []string{`ETag: "a"`}, []string{`ETag: "a"`}, true},
		{"another", []string{`ETag: "b"`}, []string{`ETag: "a"`}, false},
		{"weak", []string{`ETag: W/"a"`}, []string{`ETag: "a"`}, true},
		{"of what encode made", []string{`ETag: "a"`}, []string{`ETag: "a-gzip"`, "Content-Encoding: gzip"}, true},
		{"a date", []string{"Last-Modified: " + stamp(noon)}, []string{"Last-Modified: " + stamp(noon)}, true},
		{"another date", []string{"Last-Modified: " + stamp(noon)}, []string{"Last-Modified: " + stamp(noon.Add(1e9))}, false},
	} {
		if got := selects(headerOf(test.update...), stored(test.stored...)); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	merged := freshened(stored("A: 1", "B: 1", "Content-Type: text/html", "Content-Encoding: gzip", `ETag: "a-gzip"`),
		headerOf("A: 2", "C: 3", "Content-Type: text/plain", "Content-Encoding: br", "Content-Length: 5", `ETag: "a"`, "Set-Cookie: x=y", "Connection: D", "D: 1"))
	want := headerOf("A: 2", "B: 1", "C: 3", "Content-Type: text/html", "Content-Encoding: gzip", `ETag: "a-gzip"`)
	for name := range merged {
		if merged.Get(name) != want.Get(name) {
			t.Errorf("%s: %q, want %q", name, merged.Get(name), want.Get(name))
		}
	}
	if len(merged) != len(want) {
		t.Errorf("got %v, want %v", merged, want)
	}
}

// RFC 9111 section 4.4.
func TestInvalidation(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": false, "HEAD": false, "OPTIONS": false, "TRACE": false, "POST": true, "PUT": true, "DELETE": true, "PATCH": true, "M-SEARCH": true,
	} {
		if invalidates(method, 200) != want || invalidates(method, 303) != want {
			t.Errorf("%s: not %v", method, want)
		}
		if invalidates(method, 400) || invalidates(method, 500) {
			t.Errorf("%s: an error invalidates", method)
		}
	}
	base, err := url.Parse("https://example.com/a/b")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, location := range []string{"c", "/d", "https://example.com:443/e", "https://EXAMPLE.com/f", "https://other.example/g", "http://example.com/h", "%zz"} {
		for _, u := range alsoInvalidated(base, headerOf("Location: "+location)) {
			target := targetOfURL(u)
			got = append(got, target.base())
		}
	}
	if text := strings.Join(got, " "); text != "https://example.com/a/c https://example.com/d https://example.com/e https://example.com/f" {
		t.Errorf("got %s", text)
	}
}

// RFC 9110 section 14.1.2 and 14.2.
func TestRanges(t *testing.T) {
	for text, want := range map[string][]byteRange{
		"bytes=0-4": {{0, 5}}, "bytes=5-": {{5, 5}}, "bytes=-3": {{7, 3}}, "bytes=-30": {{0, 10}}, "bytes=8-99": {{8, 2}},
		"bytes=0-0,9-9": {{0, 1}, {9, 1}}, "bytes=0-1, 99-, 4-5": {{0, 2}, {4, 2}}, "BYTES=1-1": {{1, 1}},
		"bytes=0-99999999999999999999": {{0, 10}},
		"":                             nil, "bytes": nil, "bytes=": nil, "lines=0-1": nil, "bytes=5-4": nil, "bytes=a-": nil, "bytes=+1-2": nil, "bytes=0-1,x": nil, "bytes=--1": nil,
		"bytes=0-5,3-8": nil, // overlapping: the whole
		"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8": nil, // too many
	} {
		if got := parseRanges([]string{text}, 10); !slices.Equal(got.parts, want) || got.unsatisfiable {
			t.Errorf("%q gave %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"bytes=10-", "bytes=10-20,99-", "bytes=-0"} {
		if got := parseRanges([]string{text}, 10); !got.unsatisfiable {
			t.Errorf("%q gave %v", text, got)
		}
	}
}

// RFC 9110 section 13.1.5.
func TestIfRange(t *testing.T) {
	modified, date := "Last-Modified: "+stamp(noon), "Date: "+stamp(noon.Add(time.Minute))
	for _, test := range []struct {
		condition string
		stored    []string
		want      bool
	}{
		{`"a"`, []string{`ETag: "a"`}, true},
		{`"b"`, []string{`ETag: "a"`}, false},
		{`W/"a"`, []string{`ETag: W/"a"`}, false}, // strong comparison
		{stamp(noon), []string{modified, date}, true},
		{stamp(noon.Add(time.Hour)), []string{modified, date}, false},
		{stamp(noon), []string{modified, "Date: " + stamp(noon)}, false}, // no strong validator
		{"nonsense", []string{`ETag: "a"`}, false},
	} {
		if got := rangeApplies(headerOf("If-Range: "+test.condition), stored(test.stored...)); got != test.want {
			t.Errorf("%s %v: %v", test.condition, test.stored, got)
		}
	}
}

// RFC 9211 section 2.
func TestCacheStatusText(t *testing.T) {
	for _, test := range []struct {
		status cacheStatus
		want   string
	}{
		{cacheStatus{hit: true, ttl: 376 * time.Second, hasTTL: true}, "Gatehouse; hit; ttl=376"},
		{cacheStatus{hit: true, ttl: -5 * time.Second, hasTTL: true, detail: "stale-if-error-503"}, "Gatehouse; hit; ttl=-5; detail=stale-if-error-503"},
		{cacheStatus{fwd: fwdURIMiss, fwdStatus: 200, stored: true, collapsed: true}, "Gatehouse; fwd=uri-miss; fwd-status=200; stored; collapsed"},
		{cacheStatus{fwd: fwdBypass, key: "https://x/\"\\\né"}, `Gatehouse; fwd=bypass; key="https://x/\"\\%0A%C3%A9"`},
		{cacheStatus{fwd: fwdBypass, detail: "two words"}, `Gatehouse; fwd=bypass; detail="two words"`},
	} {
		if got := test.status.String(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
