// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// headerOf makes a header of lines "Name: value".
func headerOf(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimSpace(value))
	}
	return h
}

func stored(lines ...string) storedHeader {
	return packed(headerOf(lines...))
}

func packed(h http.Header) storedHeader {
	_, stored := pack("", keepHeader(h, nil, nil))
	return stored
}

func stamp(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// RFC 9111 section 3: what may be stored, with sections 3.3 and 3.5, 5.2.2 and what this cache adds for safety.
func TestStorable(t *testing.T) {
	const fresh = "Cache-Control: max-age=60"
	policy := storagePolicy{freshnessPolicy: freshnessPolicy{heuristicMax: time.Hour}}
	for _, test := range []struct {
		name    string
		request []string
		status  int
		lines   []string
		want    string
	}{
		{"explicit freshness", nil, 200, []string{fresh}, ""},
		{"nothing", nil, 200, nil, reasonNoFreshness},
		{"a validator alone", nil, 200, []string{`ETag: "a"`}, ""},
		{"a validator, of a status that is not heuristically cacheable", nil, 403, []string{`ETag: "a"`}, reasonNoFreshness},
		{"already stale, no validator", nil, 200, []string{"Cache-Control: max-age=0"}, reasonNoFreshness},
		{"already stale, with one", nil, 200, []string{"Cache-Control: max-age=0", `ETag: "a"`}, ""},
		{"already stale, usable while it is refreshed", nil, 200, []string{"Cache-Control: max-age=0, stale-while-revalidate=9"}, ""},
		{"no-store", nil, 200, []string{"Cache-Control: max-age=60, no-store"}, reasonNoStore},
		{"NO-STORE", nil, 200, []string{"Cache-Control: max-age=60, NO-STORE"}, reasonNoStore},
		{"request no-store", []string{"Cache-Control: no-store"}, 200, []string{fresh}, reasonRequest},
		{"private", nil, 200, []string{"Cache-Control: private, max-age=60"}, reasonPrivate},
		{"private for fields", nil, 200, []string{`Cache-Control: private="X-A", max-age=60`}, ""},
		{"Set-Cookie", nil, 200, []string{fresh, "Set-Cookie: a=b"}, reasonSetCookie},
		{"Set-Cookie of a public answer", nil, 200, []string{"Cache-Control: public, max-age=60", "Set-Cookie: a=b"}, reasonSetCookie},
		{"Authorization", []string{"Authorization: x"}, 200, []string{fresh}, reasonAuthorization},
		{"Authorization and public", []string{"Authorization: x"}, 200, []string{"Cache-Control: public, max-age=60"}, ""},
		{"Authorization and s-maxage", []string{"Authorization: x"}, 200, []string{"Cache-Control: s-maxage=60"}, ""},
		{"Authorization and must-revalidate", []string{"Authorization: x"}, 200, []string{"Cache-Control: must-revalidate, max-age=60"}, ""},
		{"206", nil, 206, []string{fresh}, reasonNotWhole},
		{"304", nil, 304, []string{fresh}, reasonNotWhole},
		{"explicit freshness of an error", nil, 503, []string{fresh}, ""},
		{"explicit freshness of an unknown status", nil, 599, []string{fresh}, ""},
		{"must-understand, understood", nil, 200, []string{"Cache-Control: max-age=60, must-understand, no-store"}, ""},
		{"must-understand, not understood", nil, 599, []string{"Cache-Control: max-age=60, must-understand"}, reasonNotUnderstood},
		{"heuristic", nil, 200, []string{"Last-Modified: " + stamp(noon.Add(-time.Hour))}, ""},
		{"heuristic, for a request with Cookie", []string{"Cookie: a=b"}, 200, []string{"Last-Modified: " + stamp(noon.Add(-time.Hour))}, reasonCookie},
		{"a validator alone, for a request with Cookie", []string{"Cookie: a=b"}, 200, []string{`ETag: "a"`}, reasonCookie},
		{"explicit freshness, for a request with Cookie", []string{"Cookie: a=b"}, 200, []string{fresh}, ""},
		{"server-sent events", nil, 200, []string{fresh, "Content-Type: text/event-stream; charset=utf-8"}, reasonStream},
		{"gRPC", nil, 200, []string{fresh, "Content-Type: application/grpc+proto"}, reasonStream},
		{"trailers", nil, 200, []string{fresh, "Trailer: X-Sum"}, reasonTrailers},
		{"no-cache without validator", nil, 200, []string{"Cache-Control: no-cache, max-age=60"}, reasonNoFreshness},
		{"no-cache with validator", nil, 200, []string{"Cache-Control: no-cache, max-age=60", `ETag: "a"`}, ""},
		{"Pragma of an answer", nil, 200, []string{"Pragma: no-cache", "Expires: " + stamp(noon.Add(time.Hour))}, reasonNoFreshness},
	} {
		req := headerOf(test.request...)
		r := response{status: test.status, header: headerOf(append(test.lines, "Date: "+stamp(noon))...), requested: noon, received: noon}
		if _, got := storable(req, requestDirectives(req), r, policy); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// RFC 9111 section 3.1: fields of the connection are not stored, nor those that qualified directives name.
func TestWithheldFields(t *testing.T) {
	h := headerOf(`Cache-Control: max-age=60, private="X-Private", no-cache="X-Ask"`, "Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: 5",
		"X-Private: 1", "X-Ask: 1", "X-Keep: 1", "Proxy-Authenticate: x", "Age: 5", "Cache-Status: other; hit", "X-Keep: 2")
	terms, reason := storable(http.Header{}, noDirectives(), response{status: 200, header: h, requested: noon, received: noon}, storagePolicy{})
	if reason != "" {
		t.Fatal(reason)
	}
	var names []string
	for _, f := range keepHeader(h, nil, terms.withheld) {
		names = append(names, f.name+"="+f.value)
	}
	if got := strings.Join(names, " "); got != `Cache-Control=max-age=60, private="X-Private", no-cache="X-Ask" X-Keep=1 X-Keep=2` {
		t.Errorf("kept %s", got)
	}
}

// RFC 9111 section 4, with 4.2.4 and 5.2.1, and RFC 5861 section 3.
func TestReuse(t *testing.T) {
	minute := terms{lifetime: time.Minute}
	swr := terms{lifetime: time.Minute, staleWhile: 10 * time.Second}
	strict := terms{lifetime: time.Minute, neverStale: true, staleWhile: 10 * time.Second}
	asked := terms{lifetime: time.Minute, alwaysValidate: true}
	for _, test := range []struct {
		name    string
		terms   terms
		request string
		age     time.Duration
		soft    bool
		use     use
		fwd     string
	}{
		{"fresh", minute, "", 59 * time.Second, false, useFresh, ""},
		{"stale at its lifetime", minute, "", 60 * time.Second, false, validate, fwdStale},
		{"no-cache of the answer", asked, "", 0, false, validate, fwdStale},
		{"no-cache of the request", minute, "no-cache", 0, false, validate, fwdRequest},
		{"max-age of the request", minute, "max-age=10", 11 * time.Second, false, validate, fwdRequest},
		{"max-age of the request, young enough", minute, "max-age=10", 10 * time.Second, false, useFresh, ""},
		{"min-fresh", minute, "min-fresh=10", 51 * time.Second, false, validate, fwdRequest},
		{"min-fresh, fresh enough", minute, "min-fresh=10", 50 * time.Second, false, useFresh, ""},
		{"max-stale without a value", minute, "max-stale", time.Hour, false, useStale, ""},
		{"max-stale", minute, "max-stale=10", 70 * time.Second, false, useStale, ""},
		{"max-stale, too stale", minute, "max-stale=10", 71 * time.Second, false, validate, fwdStale},
		{"max-stale against must-revalidate", strict, "max-stale", 61 * time.Second, false, validate, fwdStale},
		{"stale-while-revalidate", swr, "", 65 * time.Second, false, useAndRefresh, ""},
		{"stale-while-revalidate is over", swr, "", 70 * time.Second, false, validate, fwdStale},
		{"stale-while-revalidate against must-revalidate", strict, "", 65 * time.Second, false, validate, fwdStale},
		{"softly purged", minute, "", 0, true, validate, fwdStale},
		{"softly purged, usable while it is refreshed", swr, "", 0, true, useAndRefresh, ""},
	} {
		d := noDirectives()
		if test.request != "" {
			d = parseCacheControl([]string{test.request})
		}
		if got := planReuse(&test.terms, &d, test.age, test.soft); got.use != test.use || got.fwd != test.fwd {
			t.Errorf("%s: %v %q, want %v %q", test.name, got.use, got.fwd, test.use, test.fwd)
		}
	}
}

// RFC 5861 section 4 and RFC 9111 section 4.2.4.
func TestAfterError(t *testing.T) {
	for _, test := range []struct {
		name    string
		terms   terms
		request string
		ttl     time.Duration
		down    time.Duration
		want    bool
	}{
		{"not allowed", terms{}, "", -time.Second, 0, false},
		{"stale-if-error", terms{staleIfError: time.Minute}, "", -59 * time.Second, 0, true},
		{"stale-if-error is over", terms{staleIfError: time.Minute}, "", -60 * time.Second, 0, false},
		{"of the request", terms{}, "stale-if-error=60", -59 * time.Second, 0, true},
		{"serve_stale", terms{}, "", -59 * time.Second, time.Minute, true},
		{"serve_stale against must-revalidate", terms{neverStale: true}, "", -time.Second, time.Minute, false},
		{"the client wants it validated", terms{staleIfError: time.Minute}, "no-cache", -time.Second, 0, false},
	} {
		d := noDirectives()
		if test.request != "" {
			d = parseCacheControl([]string{test.request})
		}
		if got := usableAfterError(&test.terms, &d, reuse{ttl: test.ttl}, test.down); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// RFC 9111 section 4.1.
func TestVary(t *testing.T) {
	for _, test := range []struct {
		name          string
		vary          string
		first, second []string
		want          bool
	}{
		{"nothing", "", []string{"A: 1"}, []string{"A: 2"}, true},
		{"the same", "A", []string{"A: 1"}, []string{"A: 1"}, true},
		{"another value", "A", []string{"A: 1"}, []string{"A: 2"}, false},
		{"missing in one", "A", []string{"A: 1"}, nil, false},
		{"missing in both", "A", nil, nil, true},
		{"one of several", "A, B", []string{"A: 1", "B: 1"}, []string{"A: 1", "B: 2"}, false},
		{"case of names", "a", []string{"A: 1"}, []string{"A: 2"}, false},
		{"case of values", "A", []string{"A: x"}, []string{"A: X"}, false},
		{"whitespace", "A", []string{"A: 1,2"}, []string{"A:  1 , 2 "}, true},
		{"lines joined", "A", []string{"A: 1", "A: 2"}, []string{"A: 1, 2"}, true},
		{"order", "A", []string{"A: 1, 2"}, []string{"A: 2, 1"}, false},
		{"order of languages", "Accept-Language", []string{"Accept-Language: de;q=0.5, EN"}, []string{"Accept-Language: en, de;q=0.5"}, true},
		{"another weight", "Accept-Language", []string{"Accept-Language: de;q=0.5, en"}, []string{"Accept-Language: en;q=0.5, de"}, false},
	} {
		fields, reason := selecting(headerOf("Vary: " + test.vary)["Vary"], headerOf(test.first...))
		if reason != "" {
			t.Fatalf("%s: %s", test.name, reason)
		}
		if got := matches(fields, headerOf(test.second...)); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	for _, vary := range []string{"*", "A, *", "*, A"} {
		if _, reason := selecting([]string{vary}, http.Header{}); reason != reasonVaryAll {
			t.Errorf("Vary: %s gave %q", vary, reason)
		}
	}
	if _, reason := selecting([]string{"A"}, headerOf("A: "+strings.Repeat("x", 5000))); reason != reasonVaryTooLong {
		t.Errorf("an oversized field gave %q", reason)
	}
}

// RFC 9110 section 12.5.3.
func TestAcceptEncoding(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "gzip": "gzip", "GZIP": "gzip", "x-gzip": "gzip", "gzip, deflate, br, zstd": "zstd, br, gzip", "br;q=0.5": "br",
		"gzip;q=0": "", "gzip;q=0.0, br": "br", "*": "zstd, br, gzip", "*, gzip;q=0": "zstd, br", "*;q=0": "", "identity;q=0": "",
		"deflate": "", "gzip;q=x": "gzip", ",,": "", "gzipped": "",
	} {
		if got := acceptedCodings([]string{text}).normalized(); got != want {
			t.Errorf("%q gave %q, want %q", text, got, want)
		}
	}
}

// A body is never given to a client that does not accept its coding, with or without Vary.
func TestCodingsOfVariants(t *testing.T) {
	for _, test := range []struct {
		name             string
		coding           string
		varies           bool
		accepted, wanted codings
		want             bool
	}{
		{"identity to all", "", false, gzip, 0, true},
		{"gzip to identity, without Vary", "gzip", false, gzip, 0, false},
		{"gzip to gzip", "gzip", true, gzip, gzip, true},
		{"gzip, chosen from more", "gzip", true, gzip | brotli, gzip, true},
		{"gzip, chosen from less", "gzip", true, gzip, gzip | brotli, false},
		{"identity, chosen from less", "", true, 0, gzip, false},
		{"identity, chosen from more", "", true, gzip, 0, true},
		{"unknown coding, without Vary", "compress", false, gzip, 0, true}, // the origin heard of none that it could have chosen it for
		{"unknown coding, with Vary, another set", "compress", true, gzip, 0, false},
		{"unknown coding, with Vary", "compress", true, gzip, gzip, true},
		{"two codings", "gzip, br", true, gzip | brotli, gzip, false},
	} {
		coding, known := contentCoding(headerOf("Content-Encoding: " + test.coding)["Content-Encoding"])
		o := &object{coding: coding, known: known, varies: test.varies, accepted: test.accepted}
		if got := o.answers(http.Header{}, test.wanted); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// The No-Vary-Search field: what of a query does not matter.
func TestNoVarySearch(t *testing.T) {
	for _, test := range []struct {
		field, a, b string
		want        bool
	}{
		{"key-order", "a=1&b=2", "b=2&a=1", true},
		{"key-order", "a=1&a=2", "a=2&a=1", false},
		{"params", "a=1", "b=2", true},
		{`params=("a")`, "a=1&b=2", "b=2", true},
		{`params=("a")`, "a=1&b=2", "a=1&b=3", false},
		{`params=("a b")`, "a%20b=1", "", true},
		{`params=("a+b")`, "a%20b=1", "", true},
		{`params, except=("a")`, "a=1&b=2", "a=1&c=3", true},
		{`params, except=("a")`, "a=1", "a=2", false},
		{`params=("x"), key-order`, "b=2&a=1&x=3", "a=1&b=2", true},
		{`params=("x")`, "a=%31", "a=1", true}, // compared decoded
	} {
		rule := parseNoVarySearch([]string{test.field})
		if rule == nil {
			t.Errorf("%s is malformed", test.field)
			continue
		}
		if got := rule.normalize(test.a) == rule.normalize(test.b); got != test.want {
			t.Errorf("%s: %q and %q: %v", test.field, test.a, test.b, got)
		}
	}
	for _, field := range []string{"", "params=?0", "key-order=1", "params=a", "params=(1)", `except=("a")`, `params=("a"), except=("b")`, "params=(\"a\"", "params, except=a"} {
		if rule := parseNoVarySearch([]string{field}); rule != nil {
			t.Errorf("%q gave %+v", field, rule)
		}
	}
}

// RFC 9875 section 2, Cache-Tag and Surrogate-Key.
func TestTags(t *testing.T) {
	tags, groups, ok := tagsOf(headerOf("Cache-Tag: a, b ,,a", "Surrogate-Key: c  d", `Cache-Groups: "e", "f;g", x, 1`))
	if got := strings.Join(tags, "|"); !ok || got != "a|b|c|d|e|f;g" || strings.Join(groups, "|") != "e|f;g" {
		t.Errorf("got %q, %q, %v", tags, groups, ok)
	}
	if _, groups, _ := tagsOf(headerOf(`Cache-Groups: "a", "b`)); groups != nil {
		t.Errorf("a malformed field gave %q", groups)
	}
	if _, _, ok := tagsOf(headerOf("Cache-Tag: " + strings.Repeat("x", maxTagBytes+1))); ok {
		t.Error("a tag that could not be purged by was accepted")
	}
}

func TestKeys(t *testing.T) {
	rules := new(searchRules)
	for _, test := range []struct{ a, b string }{
		{"HTTP://EXAMPLE.com:80/a?b", "http://example.com/a?b"},
		{"https://example.com:443", "https://example.com/"},
		{"https://example.com./", "https://example.com/"},
	} {
		a, errA := parseTarget(test.a)
		b, errB := parseTarget(test.b)
		if errA != nil || errB != nil || a.key(queryPolicy{}, rules, "") != b.key(queryPolicy{}, rules, "") {
			t.Errorf("%s and %s differ: %v %v", test.a, test.b, errA, errB)
		}
	}
	seen := map[string]string{}
	for _, text := range []string{
		"http://a/", "https://a/", "http://a:8080/", "http://b/", "http://a/x", "http://a/X", "http://a/x/", "http://a/%78", "http://a/?x", "http://a//",
	} {
		target, err := parseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		key := target.key(queryPolicy{}, rules, "")
		if other, twice := seen[key]; twice {
			t.Errorf("%s and %s have one key %q", text, other, key)
		}
		seen[key] = text
	}
	policy := queryPolicy{ignore: []string{"utm_*", "gclid"}, sort: true}
	if got := policy.normalize("b=2&utm_source=x&a=1&gclid=y&a=0"); got != "a=1&a=0&b=2" {
		t.Errorf("got %q", got)
	}
	if got := (&queryPolicy{only: []string{"id"}}).normalize("x=1&id=2&y"); got != "id=2" {
		t.Errorf("got %q", got)
	}
}
