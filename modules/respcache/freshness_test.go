// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"slices"
	"strings"
	"testing"
	"time"
)

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
		{"the year 1", []string{"Date: " + stamp(time.Time{})}, 0, maxDelta},
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

// RFC 9111 section 5.4: Pragma counts without Cache-Control alone.
func TestPragma(t *testing.T) {
	if !requestDirectives(headerOf("Pragma: x, No-Cache")).noCache {
		t.Error("Pragma was ignored")
	}
	if requestDirectives(headerOf("Pragma: no-cache", "Cache-Control: max-age=60")).noCache {
		t.Error("Pragma beat Cache-Control")
	}
}
