// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"slices"
	"strings"
)

// keptOnUpdate are stored fields that a 304 does not replace: they describe the stored body, RFC 9111 section 3.2.
// Set-Cookie is no part of what is shared.
var keptOnUpdate = []string{"Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Content-Digest", "Set-Cookie"}

// selects reports whether a 304 is about the stored answer, RFC 9111 section 4.3.4: by its strong validator if it has one,
// else by any that it has; a 304 without validators is about the one answer that was asked about.
func selects(update http.Header, stored storedHeader) bool {
	if etag := first1(update["Etag"]); etag != "" {
		return sameETag(opaque(etag), opaque(stored.get("Etag")), stored.get("Content-Encoding"))
	}
	if modified := first1(update["Last-Modified"]); modified != "" && stored.get("Etag") == "" {
		return modified == stored.get("Last-Modified")
	}
	return true
}

// sameETag compares opaque tags. Caddy's encode appends the coding to the tag of what it encodes and takes it off again on the
// way to the origin, whose 304 then carries the origin's own tag.
func sameETag(update, stored, coding string) bool {
	return update == stored || coding != "" && strings.TrimSuffix(stored, "-"+coding+`"`)+`"` == update
}

// freshened is the stored header as a 304 updates it, RFC 9111 section 3.2: each field that the 304 carries replaces the
// stored one, save those that describe the body or the connection.
func freshened(stored storedHeader, update http.Header) http.Header {
	merged := stored.header()
	skipped := append(connectionFields(update), keptOnUpdate...)
	if stored.get("Content-Encoding") != "" { // encode has made the tag of the coding its own
		skipped = append(skipped, "Etag")
	}
	for name, values := range update {
		if !hopByHop(name) && !slices.Contains(skipped, name) {
			merged[name] = slices.Clone(values)
		}
	}
	delete(merged, "Age") // of the answer before, if this one carries none
	if age := update["Age"]; len(age) > 0 {
		merged["Age"] = slices.Clone(age)
	}
	return merged
}
