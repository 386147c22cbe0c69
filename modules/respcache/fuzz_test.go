// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever an upstream and a client write, the rules decide without a panic, and never to store what says that it must not be.
func FuzzRules(f *testing.F) {
	f.Add("max-age=60", "max-age=60", "A, B", "5", stamp(noon), "no-cache", 200)
	f.Add(`private="x`, "no-store,,", "*", "-1", "0", "max-stale", 206)
	f.Add(`max-age="1`, `max-age=1;a="`, ",", "99999999999999999999", "Sunday, 06-Nov-94 08:49:37 GMT", "x=\"\\", 599)
	f.Fuzz(func(t *testing.T, cacheControl, targeted, vary, age, date, request string, status int) {
		h := http.Header{
			"Cache-Control": {cacheControl}, "Cdn-Cache-Control": {targeted}, "Vary": {vary}, "Age": {age}, "Date": {date},
			"Expires": {date}, "Last-Modified": {date}, "Etag": {vary}, "No-Vary-Search": {targeted}, "Cache-Groups": {targeted}, "Cache-Tag": {vary},
		}
		req := http.Header{"Cache-Control": {request}, "Accept-Encoding": {vary}, "Accept-Language": {vary}}
		r := response{status: status, header: h, requested: noon, received: noon}
		d := requestDirectives(req)
		terms, reason := storable(req, d, r, storagePolicy{freshnessPolicy: freshnessPolicy{heuristicMax: time.Hour}})
		if terms.lifetime < 0 || terms.initialAge < 0 {
			t.Fatalf("lifetime %v, age %v", terms.lifetime, terms.initialAge)
		}
		if _, valid := parseTargeted([]string{targeted}); reason == "" && !valid && strings.TrimSpace(cacheControl) == "no-store" {
			t.Fatal("no-store was stored")
		}
		planReuse(&terms, &d, terms.initialAge, false)
		if fields, reason := selecting(h["Vary"], req); reason == "" && !matches(fields, req) {
			t.Fatalf("a request does not match what it selected by %q", vary)
		}
		tagsOf(h)
		if rule := parseNoVarySearch(h["No-Vary-Search"]); rule != nil {
			if once := rule.normalize(cacheControl); rule.normalize(once) != once {
				t.Fatalf("normalising %q twice gave %q and %q", cacheControl, once, rule.normalize(once))
			}
		}
		acceptedCodings(req["Accept-Encoding"])
		notModified(http.Header{"If-None-Match": {vary}}, packed(h), noon)
	})
}

// Ranges lie within the body, whatever is asked.
func FuzzRanges(f *testing.F) {
	f.Add("bytes=0-5,7-", int64(10))
	f.Add("bytes=-0", int64(0))
	f.Fuzz(func(t *testing.T, text string, size int64) {
		if size < 0 {
			return
		}
		for _, part := range parseRanges([]string{text}, size).parts {
			if part.start < 0 || part.length <= 0 || part.start+part.length > size {
				t.Fatalf("%q of %d bytes gave %v", text, size, part)
			}
		}
	})
}

// Dates survive being written again.
func FuzzDates(f *testing.F) {
	f.Add(stamp(noon))
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT")
	f.Add("Sun Nov  6 08:49:37 1994")
	f.Fuzz(func(t *testing.T, text string) {
		date, ok := parseDate(text)
		if !ok || date.Year() < 1000 || date.Year() > 9999 {
			return
		}
		if again, ok := parseDate(stamp(date)); !ok || !again.Equal(date) {
			t.Fatalf("%q gave %v and %v", text, date, again)
		}
	})
}

// A Cache-Status member has no byte that could end it, or the field.
func FuzzCacheStatus(f *testing.F) {
	f.Add("https://example.com/", "x")
	f.Add("\"\\\r\n\x00é", "a b\"")
	f.Fuzz(func(t *testing.T, key, detail string) {
		text := (&cacheStatus{hit: true, key: key, detail: detail}).String()
		for i := range len(text) {
			if text[i] < 0x20 || text[i] >= 0x7f {
				t.Fatalf("byte %#x in %q", text[i], text)
			}
		}
	})
}
