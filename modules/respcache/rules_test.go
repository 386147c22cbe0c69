// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"net/url"
	"slices"
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
	return keepHeader(headerOf(lines...), nil)
}

func stamp(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// RFC 9111 section 1.2.2: delta-seconds is 1*DIGIT; what overflows is the greatest value that can be represented.
func TestDeltaSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "3600": time.Hour, "2147483648": maxDelta, "99999999999999999999": maxDelta, "0005": 5 * time.Second,
		"": -1, "-1": -1, "+1": -1, "1.5": -1, "1s": -1, " 1": -1, "0x10": -1, "１": -1,
	} {
		got, ok := parseDelta(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q gave %v, want %v", text, got, want)
		}
	}
}

// RFC 9111 section 5.2: directives are case-insensitive, take a token or a quoted string, and unknown ones are ignored.
func TestCacheControlSyntax(t *testing.T) {
	for text, want := range map[string]func(*directives){
		"":                              func(*directives) {},
		"max-age=10":                    func(d *directives) { d.maxAge = 10 * time.Second },
		"MAX-AGE=10":                    func(d *directives) { d.maxAge = 10 * time.Second },
		`max-age="10"`:                  func(d *directives) { d.maxAge = 10 * time.Second },
		"max-age='10'":                  func(d *directives) { d.maxAge = 0 },
		"max-age =10":                   func(*directives) {}, // no whitespace before "=": another word
		"max-age= 10":                   func(d *directives) { d.maxAge = 0 },
		"max-age":                       func(d *directives) { d.maxAge = 0 },
		"max-age=10, max-age=20":        func(d *directives) { d.maxAge = 10 * time.Second }, // section 4.2.1: the first
		"max-age=1.5":                   func(d *directives) { d.maxAge = 0 },
		`ext="max-age=10"`:              func(*directives) {},
		`ext="a,\"max-age=10", public`:  func(d *directives) { d.public = true },
		`ext="never closed, max-age=10`: func(*directives) {},
		"no-cache":                      func(d *directives) { d.noCache = true },
		`no-cache="a, b-c"`:             func(d *directives) { d.noCacheFields = []string{"A", "B-C"} },
		`no-cache=""`:                   func(d *directives) { d.noCache = true },
		`no-cache="a b"`:                func(d *directives) { d.noCache = true }, // no field name: the whole directive counts
		`private="x"`:                   func(d *directives) { d.privateFields = []string{"X"} },
		"private, no-store,,must-revalidate ,proxy-revalidate": func(d *directives) {
			d.private, d.noStore, d.mustRevalidate, d.proxyRevalidate = true, true, true, true
		},
		"s-maxage=5, stale-while-revalidate=6, stale-if-error=7": func(d *directives) {
			d.sMaxAge, d.staleWhileRevalidate, d.staleIfError = 5*time.Second, 6*time.Second, 7*time.Second
		},
		"stale-while-revalidate=x": func(*directives) {},
		"max-stale":                func(d *directives) { d.maxStale = maxDelta },
		"max-stale=5, min-fresh=6, only-if-cached": func(d *directives) {
			d.maxStale, d.minFresh, d.onlyIfCached = 5*time.Second, 6*time.Second, true
		},
		"must-understand":                func(d *directives) { d.mustUnderstand = true },
		strings.Repeat("x", 5000) + "=1": func(*directives) {},
		"=10, public":                    func(d *directives) { d.public = true },
		"\x00\xff=\"\\":                  func(*directives) {},
	} {
		expected := noDirectives()
		want(&expected)
		got := parseCacheControl([]string{text})
		if !equalDirectives(got, expected) {
			t.Errorf("%q gave %+v, want %+v", clip(text), got, expected)
		}
	}
	if d := parseCacheControl([]string{"max-age=10", "no-store"}); !d.noStore || d.maxAge != 10*time.Second {
		t.Errorf("two lines gave %+v", d)
	}
}

func equalDirectives(a, b directives) bool {
	if !slices.Equal(a.noCacheFields, b.noCacheFields) || !slices.Equal(a.privateFields, b.privateFields) {
		return false
	}
	a.noCacheFields, a.privateFields, b.noCacheFields, b.privateFields = nil, nil, nil, nil
	return a.maxAge == b.maxAge && a.sMaxAge == b.sMaxAge && a.staleWhileRevalidate == b.staleWhileRevalidate &&
		a.staleIfError == b.staleIfError && a.maxStale == b.maxStale && a.minFresh == b.minFresh && a.noStore == b.noStore &&
		a.noCache == b.noCache && a.private == b.private && a.public == b.public && a.mustRevalidate == b.mustRevalidate &&
		a.proxyRevalidate == b.proxyRevalidate && a.mustUnderstand == b.mustUnderstand && a.onlyIfCached == b.onlyIfCached
}

// RFC 9213 section 2: a targeted field is a dictionary; a valid one replaces Cache-Control and Expires, an invalid one is
// ignored as a whole.
func TestTargetedCacheControl(t *testing.T) {
	for _, test := range []struct {
		name     string
		lines    []string
		lifetime time.Duration
		told     bool
		targeted bool
	}{
		{"absent", []string{"Cache-Control: max-age=5"}, 5 * time.Second, true, false},
		{"wins", []string{"CDN-Cache-Control: max-age=10", "Cache-Control: no-store, max-age=5"}, 10 * time.Second, true, true},
		{"replaces Expires", []string{"CDN-Cache-Control: must-revalidate", "Expires: " + stamp(noon.Add(time.Hour))}, 0, false, true},
		{"empty", []string{"CDN-Cache-Control:", "Cache-Control: max-age=5"}, 5 * time.Second, true, false},
		{"malformed", []string{"CDN-Cache-Control: max-age=10,,", "Cache-Control: max-age=5"}, 5 * time.Second, true, false},
		{"upper case is malformed", []string{"CDN-Cache-Control: Max-Age=10", "Cache-Control: max-age=5"}, 5 * time.Second, true, false},
		{"of the wrong type", []string{`CDN-Cache-Control: max-age="10", public`, "Cache-Control: max-age=5"}, 0, false, true},
		{"a fraction", []string{`CDN-Cache-Control: max-age=10.5, public`}, 0, false, true},
		{"parameters are ignored", []string{"CDN-Cache-Control: max-age=10;x=y"}, 10 * time.Second, true, true},
		{"negative", []string{"CDN-Cache-Control: max-age=-1, public"}, 0, false, true},
		{"two lines", []string{"CDN-Cache-Control: max-age=10", "CDN-Cache-Control: public"}, 10 * time.Second, true, true},
		{"the last of a key", []string{"CDN-Cache-Control: max-age=10, max-age=20"}, 20 * time.Second, true, true}, // RFC 9651 section 3.2
	} {
		r := response{status: 200, header: headerOf(append(test.lines, "Date: "+stamp(noon))...), requested: noon, received: noon}
		d, targeted := responseDirectives(r.header)
		lifetime, told := r.explicitLifetime(d, targeted)
		if lifetime != test.lifetime || told != test.told || targeted != test.targeted {
			t.Errorf("%s: %v %v %v, want %v %v %v", test.name, lifetime, told, targeted, test.lifetime, test.told, test.targeted)
		}
	}
	d, _ := responseDirectives(headerOf("CDN-Cache-Control: no-store, private, no-cache, must-revalidate=?0"))
	if !d.noStore || !d.private || !d.noCache || d.mustRevalidate {
		t.Errorf("flags: %+v", d)
	}
}

// RFC 9110 section 5.6.7: the three forms of an HTTP-date, and what is none.
func TestDates(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, text := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"} {
		if got, ok := parseDate(text); !ok || !got.Equal(want) {
			t.Errorf("%q gave %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		"", "0", "-1", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 8:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT", "06 Nov 1994 08:49:37 GMT", "Sun 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ",
		"Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "784111777", "1994-11-06T08:49:37Z",
	} {
		if got, ok := parseDate(text); ok {
			t.Errorf("%q passes for %v", text, got)
		}
	}
	// A two-digit year more than 50 years ahead is in the past.
	year := (time.Now().Year() + 60) % 100
	text := "Sunday, 06-Nov-" + string([]byte{byte('0' + year/10), byte('0' + year%10)}) + " 08:49:37 GMT"
	if got, ok := parseDate(text); !ok || got.After(time.Now()) {
		t.Errorf("%q gave %v", text, got)
	}
}

// RFC 9111 section 4.2.1: s-maxage, max-age, Expires minus Date, in this order; section 4.2.2: heuristics.
func TestLifetime(t *testing.T) {
	expires := "Expires: " + stamp(noon.Add(time.Minute))
	policy := freshnessPolicy{heuristicMax: 24 * time.Hour}
	for _, test := range []struct {
		name   string
		status int
		lines  []string
		want   time.Duration
		told   bool
	}{
		{"s-maxage first", 200, []string{"Cache-Control: s-maxage=1, max-age=2", expires}, time.Second, true},
		{"max-age before Expires", 200, []string{"Cache-Control: max-age=2", expires}, 2 * time.Second, true},
		{"Expires", 200, []string{expires}, time.Minute, true},
		{"Expires in the past", 200, []string{"Expires: " + stamp(noon.Add(-time.Minute))}, 0, true},
		{"Expires of zero", 200, []string{"Expires: 0"}, 0, true},
		{"malformed max-age is stale", 200, []string{"Cache-Control: max-age=a", expires}, 0, true},
		{"heuristic: a tenth", 200, []string{"Last-Modified: " + stamp(noon.Add(-100*time.Minute))}, 10 * time.Minute, true},
		{"heuristic: at most a day", 200, []string{"Last-Modified: " + stamp(noon.AddDate(-1, 0, 0))}, 24 * time.Hour, true},
		{"heuristic: not in the future", 200, []string{"Last-Modified: " + stamp(noon.Add(time.Hour))}, 0, true},
		{"heuristic: malformed date", 200, []string{"Last-Modified: yesterday"}, 0, false},
		{"heuristic: 404 is cacheable", 404, []string{"Last-Modified: " + stamp(noon.Add(-10*time.Second))}, time.Second, true},
		{"heuristic: 403 is not", 403, []string{"Last-Modified: " + stamp(noon.Add(-10*time.Second))}, 0, false},
		{"heuristic: 403 with public is", 403, []string{"Cache-Control: public", "Last-Modified: " + stamp(noon.Add(-10*time.Second))}, time.Second, true},
		{"nothing", 200, nil, 0, false},
	} {
		r := response{status: test.status, header: headerOf(append(test.lines, "Date: "+stamp(noon))...), requested: noon, received: noon}
		d, targeted := responseDirectives(r.header)
		if got, told := r.lifetime(d, targeted, policy); got != test.want || told != test.told {
			t.Errorf("%s: %v %v, want %v %v", test.name, got, told, test.want, test.told)
		}
	}
}

// The configuration's lifetimes hold only where the answer gives none.
func TestConfiguredLifetime(t *testing.T) {
	policy := freshnessPolicy{defaultTTL: time.Minute, statusTTL: map[int]time.Duration{404: time.Second, 503: 2 * time.Second}}
	for _, test := range []struct {
		status int
		lines  []string
		want   time.Duration
		told   bool
	}{
		{200, nil, time.Minute, true},
		{404, nil, time.Second, true},
		{503, nil, 2 * time.Second, true},
		{500, nil, 0, false},
		{200, []string{"Cache-Control: max-age=5"}, 5 * time.Second, true},
		{404, []string{"Cache-Control: max-age=5"}, 5 * time.Second, true},
	} {
		r := response{status: test.status, header: headerOf(test.lines...), requested: noon, received: noon}
		d, targeted := responseDirectives(r.header)
		if got, told := r.lifetime(d, targeted, policy); got != test.want || told != test.told {
			t.Errorf("%d %v: %v %v, want %v %v", test.status, test.lines, got, told, test.want, test.told)
		}
	}
}

// RFC 9111 section 4.2.3: age from Date, from Age, and from how long the answer took.
func TestInitialAge(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []string
		took  time.Duration
		want  time.Duration
	}{
		{"none", nil, 0, 0},
		{"apparent age", []string{"Date: " + stamp(noon.Add(-10*time.Second))}, 0, 10 * time.Second},
		{"a clock ahead of ours", []string{"Date: " + stamp(noon.Add(time.Hour))}, 0, 0},
		{"Age", []string{"Age: 30"}, 0, 30 * time.Second},
		{"Age and delay", []string{"Age: 30"}, 2 * time.Second, 32 * time.Second},
		{"the larger of both", []string{"Age: 5", "Date: " + stamp(noon.Add(-10*time.Second))}, 0, 10 * time.Second},
		{"the first of several Ages", []string{"Age: 5, 50"}, 0, 5 * time.Second},
		{"no number", []string{"Age: -5"}, 0, 0},
		{"no number", []string{"Age: 5.5"}, 0, 0},
		{"too large", []string{"Age: 99999999999999999999"}, 0, maxDelta},
	} {
		r := response{header: headerOf(test.lines...), requested: noon.Add(-test.took), received: noon}
		if got := r.initialAge(); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

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
	for _, f := range keepHeader(h, terms.withheld) {
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

// RFC 9111 section 5.4: Pragma counts without Cache-Control alone.
func TestPragma(t *testing.T) {
	if !requestDirectives(headerOf("Pragma: x, No-Cache")).noCache {
		t.Error("Pragma was ignored")
	}
	if requestDirectives(headerOf("Pragma: no-cache", "Cache-Control: max-age=60")).noCache {
		t.Error("Pragma beat Cache-Control")
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
		{"unknown coding, without Vary", "compress", false, gzip, gzip, false},
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
