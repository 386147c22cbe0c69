// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"strings"
	"time"
)

// conditionalFields are the preconditions that a cache may evaluate, RFC 9111 section 4.3.2.
var conditionalFields = [...]string{"If-None-Match", "If-Modified-Since"}

// forOriginOnly reports whether a request has preconditions that only the origin may evaluate: RFC 9111 section 4.3.2.
func forOriginOnly(h http.Header) bool {
	return len(h["If-Match"]) > 0 || len(h["If-Unmodified-Since"]) > 0
}

// notModified evaluates a client's preconditions against a stored 200, RFC 9111 section 4.3.2 and RFC 9110 section 13.2.2:
// true means that 304 is the answer. received stands in for a Last-Modified and Date that are missing.
func notModified(req http.Header, stored storedHeader, received time.Time) bool {
	if lines := req["If-None-Match"]; len(lines) > 0 { // then If-Modified-Since is ignored
		return anyETagMatches(lines, stored.get("Etag"))
	}
	lines := req["If-Modified-Since"]
	if len(lines) == 0 {
		return false
	}
	since, ok := parseDate(lines[0])
	if !ok {
		return false
	}
	for _, name := range [...]string{"Last-Modified", "Date"} {
		if t, ok := parseDate(stored.get(name)); ok {
			return !t.After(since)
		}
	}
	return !received.After(since)
}

// validators are what notModified looks at of an answer that is not stored.
func validators(h http.Header) storedHeader {
	var fields []headerField
	for _, name := range [...]string{"Etag", "Last-Modified", "Date"} {
		fields = append(fields, headerField{name, first1(h[name])})
	}
	_, stored := pack("", fields)
	return stored
}

// anyETagMatches compares a list of entity tags weakly with one, RFC 9110 sections 8.8.3.2 and 13.1.2. Tags may hold commas.
func anyETagMatches(lines []string, etag string) bool {
	for _, line := range lines {
		for line = strings.TrimLeft(line, " \t,"); line != ""; line = strings.TrimLeft(line, " \t,") {
			if line[0] == '*' {
				return true
			}
			var tag string
			if tag, line = cutETag(line); tag == "" {
				break
			}
			if etag != "" && opaque(tag) == opaque(etag) {
				return true
			}
		}
	}
	return false
}

// cutETag cuts an entity tag off a line. A malformed one, without its quotes, ends at the next comma.
func cutETag(line string) (tag, rest string) {
	start := 0
	if strings.HasPrefix(line, "W/") {
		start = 2
	}
	if start < len(line) && line[start] == '"' {
		if end := strings.IndexByte(line[start+1:], '"'); end >= 0 {
			end += start + 2
			return line[:end], line[end:]
		}
		return "", ""
	}
	tag, rest, _ = strings.Cut(line, ",")
	return trimOWS(tag), rest
}

func opaque(tag string) string { return strings.TrimPrefix(tag, "W/") }

func isStrong(etag string) bool { return etag != "" && !strings.HasPrefix(etag, "W/") }

// setValidators makes a request to the origin conditional on the stored answer, RFC 9111 section 4.3.1, in place of the
// client's own conditions. It reports false if the answer has no validator.
func setValidators(req http.Header, stored storedHeader) bool {
	dropConditions(req)
	etag, modified := stored.get("Etag"), stored.get("Last-Modified")
	if etag != "" {
		req["If-None-Match"] = []string{etag}
	}
	if _, ok := parseDate(modified); ok {
		req["If-Modified-Since"] = []string{modified}
	}
	return len(req["If-None-Match"])+len(req["If-Modified-Since"]) > 0
}

// dropConditions makes the origin send the whole answer, so that it can be stored for everybody; the client's conditions
// are evaluated against it afterwards.
func dropConditions(req http.Header) {
	for _, name := range conditionalFields {
		delete(req, name)
	}
	delete(req, "Range")
	delete(req, "If-Range")
}
