// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"strings"
	"time"
)

// maxDelta is what a number of seconds that is too large counts as, RFC 9111 section 1.2.2.
const maxDelta = (1 << 31) * time.Second

// absent stands for a duration that a header does not give.
const absent = time.Duration(-1)

// directives are what a Cache-Control field says, of a request or of a response: RFC 9111 section 5.2, RFC 5861.
type directives struct {
	maxAge, sMaxAge                    time.Duration // absent, or the value; 0 if the value is malformed: section 4.2.1
	staleWhileRevalidate, staleIfError time.Duration // absent also if malformed
	maxStale, minFresh                 time.Duration // of requests; max-stale without a value is maxDelta

	noStore, noCache, private, public, mustRevalidate, proxyRevalidate, mustUnderstand, onlyIfCached bool

	// noCacheFields and privateFields are the field names of the qualified forms, sections 5.2.2.4 and 5.2.2.7.
	noCacheFields, privateFields []string
}

// noDirectives is what an absent field says.
func noDirectives() directives {
	return directives{
		maxAge: absent, sMaxAge: absent, staleWhileRevalidate: absent, staleIfError: absent, maxStale: absent, minFresh: absent,
	}
}

// parseCacheControl reads all lines of a Cache-Control field, RFC 9111 section 5.2. Names are case-insensitive, values are
// tokens or quoted strings, unknown directives are skipped. Of a directive that is repeated the first counts (section
// 4.2.1), and flags add up, so that the most restrictive holds.
func parseCacheControl(lines []string) directives {
	d := noDirectives()
	for _, line := range lines {
		for line != "" {
			var name, value string
			var hasValue bool
			name, value, hasValue, line = nextDirective(line)
			d.set(name, value, hasValue)
		}
	}
	return d
}

// nextDirective cuts the first directive off a line. Commas within a quoted string do not end it.
func nextDirective(line string) (name, value string, hasValue bool, rest string) {
	end := strings.IndexAny(line, ",=")
	if end < 0 {
		return trimOWS(line), "", false, ""
	}
	name = trimOWS(line[:end])
	if line[end] == ',' {
		return name, "", false, line[end+1:]
	}
	if name != strings.TrimLeft(line[:end], " \t") { // whitespace before "=" is no part of the grammar
		name = ""
	}
	value, rest = cutValue(line[end+1:])
	return name, value, true, rest
}

// cutValue cuts the value of a directive, a token or a quoted string, off a line, and skips to after the next comma.
func cutValue(line string) (value, rest string) {
	if !strings.HasPrefix(line, `"`) {
		value, rest, _ = strings.Cut(line, ",")
		return strings.TrimRight(value, " \t"), rest
	}
	escaped := false
	for i := 1; i < len(line); i++ {
		switch {
		case line[i] == '\\':
			i++
			escaped = true
		case line[i] == '"':
			value = line[1:i]
			if escaped {
				value = unescape(value)
			}
			_, rest, _ = strings.Cut(line[i+1:], ",")
			return value, rest
		}
	}
	return line, "" // never closed: nothing after it can be told apart
}

// unescape resolves the quoted pairs of a quoted string, RFC 9110 section 5.6.4.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// set takes in one directive.
func (d *directives) set(name, value string, hasValue bool) {
	var lower [24]byte
	if name == "" || len(name) > len(lower) {
		return
	}
	for i := range len(name) {
		lower[i] = name[i]
		if 'A' <= name[i] && name[i] <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	switch string(lower[:len(name)]) { // which allocates nothing
	case "max-age":
		first(&d.maxAge, value, 0)
	case "s-maxage":
		first(&d.sMaxAge, value, 0)
	case "stale-while-revalidate":
		first(&d.staleWhileRevalidate, value, absent)
	case "stale-if-error":
		first(&d.staleIfError, value, absent)
	case "min-fresh":
		first(&d.minFresh, value, 0)
	case "max-stale":
		if !hasValue {
			value = "2147483648"
		}
		first(&d.maxStale, value, absent)
	case "no-cache":
		if fields := fieldNames(value); hasValue && len(fields) > 0 {
			d.noCacheFields = append(d.noCacheFields, fields...)
		} else {
			d.noCache = true
		}
	case "private":
		if fields := fieldNames(value); hasValue && len(fields) > 0 {
			d.privateFields = append(d.privateFields, fields...)
		} else {
			d.private = true
		}
	default:
		d.setFlag(string(lower[:len(name)]))
	}
}

func (d *directives) setFlag(name string) {
	switch name {
	case "no-store":
		d.noStore = true
	case "public":
		d.public = true
	case "must-revalidate":
		d.mustRevalidate = true
	case "proxy-revalidate":
		d.proxyRevalidate = true
	case "must-understand":
		d.mustUnderstand = true
	case "only-if-cached":
		d.onlyIfCached = true
	}
}

// first sets a duration that has not been given yet; malformed is what a malformed value counts as.
func first(dst *time.Duration, value string, malformed time.Duration) {
	if *dst != absent {
		return
	}
	v, ok := parseDelta(value)
	if !ok {
		v = malformed
	}
	*dst = v
}

// parseDelta reads a non-negative number of seconds, RFC 9111 section 1.2.2.
func parseDelta(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > int64(maxDelta/time.Second) {
			n = int64(maxDelta / time.Second)
		}
	}
	return time.Duration(n) * time.Second, true
}

// fieldNames reads a list of field names, and gives none if any of it is no name: the whole directive then counts.
func fieldNames(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		name = trimOWS(name)
		if name == "" {
			continue
		}
		if !isToken(name) {
			return nil
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	return names
}

func trimOWS(s string) string { return strings.Trim(s, " \t") }

// isToken reports whether s is a token, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
