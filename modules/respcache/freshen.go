// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"slices"
	"strconv"
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

// freshen stores the stale answer anew, with the header as an answer from upstream updates it. The caller owns a reference to the
// object. reason says why it is not stored; shareable is for others who wait.
func (l *lead) freshen(resp response) (o *object, stored, shareable bool, reason string) {
	merged := freshened(l.stale.header, l.header)
	for name, values := range l.before { // set by outer handlers, and no part of the answer
		if slices.Equal(l.header[name], values) && l.stale.header.get(name) == "" {
			delete(merged, name)
		}
	}
	resp.status, resp.header = l.stale.status, merged
	t, reason := storable(l.q.header, l.q.directives, resp, l.h.policy)
	if reason == reasonSetCookie {
		panic("BUG: a cookie was merged")
	}
	// The answer may have brought another Vary, or other tags.
	fields, unmatched := selecting(merged["Vary"], l.q.header)
	tags, groups, ok := tagsOf(merged)
	switch {
	case reason == "" && unmatched != "":
		reason = unmatched
	case reason == "" && !ok:
		reason = reasonTags
	}
	o = l.newObject(resp, t, nil, fields)
	o.removed, o.accepted, o.varies = l.stale.removed, l.stale.accepted, o.varies || l.stale.varies
	o.body, o.length, o.first, o.total = l.stale.body, l.stale.length, l.stale.first, l.stale.total
	o.mark(namesOf(&l.q.target, tags, groups))
	if !o.body.acquire() {
		panic("BUG: the body of a held object is gone")
	}
	if reason == "" {
		stored, reason = l.h.cache.put(l.f, o, l.h.Variants, l.h.maxObject())
	}
	return o, stored, t.shareable(), reason
}

// head takes in the answer to a HEAD that was asked because the stored answer to GET is stale: it freshens that, or shows that it is
// no more what a GET would get. RFC 9111 section 4.3.5. One in another coding, or without a validator, says nothing about it: after a
// purge it takes more than a header without objections for the body to be used again.
func (l *lead) head(resp response) {
	if first1(l.header["Content-Encoding"]) != l.stale.header.get("Content-Encoding") ||
		len(l.header["Etag"])+len(l.header["Last-Modified"]) == 0 {
		return
	}
	same := l.stale.status == http.StatusOK && selects(l.header, l.stale.header)
	if len(l.header["Etag"]) == 0 && first1(l.header["Last-Modified"]) != l.stale.header.get("Last-Modified") {
		same = false
	}
	if lines := l.header["Content-Length"]; len(lines) > 0 && lines[0] != strconv.FormatInt(l.stale.length, 10) {
		same = false
	}
	switch {
	case same:
		o, _, _, _ := l.freshen(resp)
		o.release()
	case l.fwd == fwdStale: // or clients could take from others what is fresh
		l.h.cache.discard(l.stale)
	}
}
