// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Parts of an answer (206) are kept as incomplete responses, RFC 9111 section 3.3, under these conditions: a strong validator tells
// what they are parts of, the length of that is known, and everything holds that has to hold for a whole answer. A part answers
// requests for ranges within it, and nothing else. Parts of the same thing that touch become one (section 3.4), and one that begins
// at the beginning is completed by the next request for the whole.

// span is what a Content-Range says: the bytes that come, and the length of what they are a part of.
type span struct {
	byteRange
	total int64
}

// parseContentRange reads a Content-Range of a 206, RFC 9110 section 14.4. It refuses a length that the origin does not know:
// what comes could never be told to be all of it.
func parseContentRange(lines []string) (s span, ok bool) {
	if len(lines) != 1 {
		return s, false
	}
	unit, rest, ok := strings.Cut(lines[0], " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return s, false
	}
	positions, size, ok := strings.Cut(rest, "/")
	from, to, ok2 := strings.Cut(positions, "-")
	first, ok3 := parsePosition(from)
	last, ok4 := parsePosition(to)
	total, ok5 := parsePosition(size)
	if !ok || !ok2 || !ok3 || !ok4 || !ok5 || first > last || last >= total || total >= outside {
		return s, false
	}
	return span{byteRange{first, last - first + 1}, total}, true
}

// rangeWish is what a request's Range means for what the origin is asked.
type rangeWish uint8

const (
	wholeWish rangeWish = iota // none, or one that the whole is fetched for
	partWish                   // one range, which the origin is asked for
	ownWish                    // the client's own affair
)

// wishOf reads the Range of a GET that nothing stored answers. part is the one range, written anew: nothing else that the client
// wrote reaches the origin. A range from the beginning to the end is the whole. What comes with conditions of its own, or asks for
// several ranges, is not kept; it is worth fetching the whole if it begins at the beginning.
func wishOf(h http.Header) (wish rangeWish, part string) {
	lines := h["Range"]
	if len(lines) == 0 {
		return wholeWish, ""
	}
	unit, set, ok := strings.Cut(lines[0], "=")
	switch set = trimOWS(set); {
	case len(lines) > 1 || !ok || !strings.EqualFold(trimOWS(unit), "bytes"):
		return ownWish, ""
	case strings.Contains(set, ",") || conditional(h) || len(h["If-Range"]) > 0:
		if strings.HasPrefix(set, "0-") {
			return wholeWish, ""
		}
		return ownWish, ""
	case set == "0-":
		return wholeWish, ""
	}
	if _, valid := parseRange(set, outside); !valid { // which counts as none, RFC 9110 section 14.2
		return wholeWish, ""
	}
	return partWish, "bytes=" + set
}

// partial reports whether the object is a part of a whole.
func (o *object) partial() bool { return o.total > 0 }

// size is the length of the whole, or -1 while nobody has said.
func (o *object) size() int64 {
	if o.partial() {
		return o.total
	}
	return o.length
}

// holds reports whether the object has what a request asks for: an incomplete response answers only requests for ranges that lie
// wholly within it, RFC 9111 section 3.3.
func (o *object) holds(q *query) bool {
	if !o.partial() {
		return true
	}
	lines := q.header["Range"]
	if q.method != http.MethodGet || len(lines) == 0 || !rangeApplies(q.header, o.header) {
		return false
	}
	wanted := parseRanges(lines, o.total).parts
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(r byteRange) bool {
		return r.start < o.first || r.start+r.length > o.first+o.length
	})
}

// sameWhole reports whether two objects are parts of the same whole, or that itself: RFC 9111 section 3.4 wants the same strong
// validator.
func (o *object) sameWhole(other *object) bool {
	etag := o.header.get("Etag")
	return isStrong(etag) && etag == other.header.get("Etag") && o.size() >= 0 && o.size() == other.size()
}

// sameSelection reports whether two objects answer requests with the same selecting fields.
func (o *object) sameSelection(other *object) bool {
	if o.varies != other.varies && !o.partial() && !other.partial() {
		return false
	}
	return o.accepted == other.accepted && o.coding == other.coding && o.known == other.known && slices.Equal(o.vary, other.vary)
}

// within reports whether all that the object has is in the other one too.
func (o *object) within(other *object) bool {
	return o.first >= other.first && o.first+o.length <= other.first+other.length
}

// touches reports whether there is no gap between two objects.
func (o *object) touches(other *object) bool {
	return o.first <= other.first+other.length && other.first <= o.first+o.length
}

// absorb takes into a new object what an older one of the same whole has besides: header fields that it lacks (RFC 9111 section
// 3.4), the stricter terms, and what the older one is purged by. Nobody else sees the new object yet.
func (o *object) absorb(old *object) {
	kept := o.header.fields()
	for f, rest, ok := old.header.next(); ok; f, rest, ok = rest.next() {
		if o.header.get(f.name) == "" {
			kept = append(kept, f)
		}
	}
	sortFields(kept)
	o.keep(o.key, kept)
	o.terms = stricter(o.terms, old.terms)
	o.began = min(o.began, old.began)
	more := slices.DeleteFunc(slices.Clone(old.marks), func(m *mark) bool { return slices.Contains(o.marks, m) })
	if len(more) > 0 { // most parts of a whole have the same ones
		o.gen.retain(more)
		o.marks = append(slices.Clone(o.marks), more...)
		o.named += old.named
	}
}

// stricter is what two answers allow both.
func stricter(a, b terms) terms {
	a.lifetime = min(a.lifetime, b.lifetime)
	a.alwaysValidate = a.alwaysValidate || b.alwaysValidate
	a.neverStale = a.neverStale || b.neverStale
	a.staleWhile, a.staleIfError = min(a.staleWhile, b.staleWhile), min(a.staleIfError, b.staleIfError)
	a.whileDown = min(a.whileDown, b.whileDown)
	return a
}

// combine joins a part with what is stored of the same whole and touches it, into one that is no longer than limit. What is stored may
// go at any time. It returns nil if there is nothing to join; else the caller owns a reference.
func (c *cache) combine(o *object, stored []*object, limit int64) (joined *object) {
	for again := true; again; {
		again = false
		current := cmp.Or(joined, o)
		for _, old := range stored {
			if !current.sameSelection(old) || !current.sameWhole(old) || !current.touches(old) || old.within(current) {
				continue
			}
			if dead, _ := c.generations.state(old); dead || !old.acquire() {
				continue
			}
			next := current.join(old, &c.memory, limit)
			old.release()
			if next == nil {
				continue
			}
			if joined != nil {
				joined.release()
			}
			joined, again = next, true
			break
		}
	}
	if joined != nil && !joined.partial() {
		joined.forPlainClients()
	}
	return joined
}

// forPlainClients keeps a whole that was made of parts from clients that it would be compressed for: nobody compresses parts, and
// a request for a range must not take that from everybody. Nobody else sees the object yet.
func (o *object) forPlainClients() {
	if o.couldBeCompressed() {
		o.varies, o.accepted = true, 0
	}
}

// couldBeCompressed reports whether the body is as it is only because it came in parts.
func (o *object) couldBeCompressed() bool {
	if o.coding != 0 || !o.known {
		return false
	}
	kind, _, _ := strings.Cut(o.header.get("Content-Type"), ";")
	kind = strings.ToLower(trimOWS(kind))
	class, _, _ := strings.Cut(kind, "/")
	switch {
	case class == "video", class == "audio", class == "image" && !strings.HasSuffix(kind, "+xml"):
		return false
	}
	return kind != "application/octet-stream" && kind != "application/zip" && kind != "application/gzip"
}

// join makes one object of a new and an older one that touch, or nil if it would be too large. What the new one says holds.
func (o *object) join(old *object, m *memory, limit int64) *object {
	first := min(o.first, old.first)
	length := max(o.first+o.length, old.first+old.length) - first
	if length > limit {
		return nil
	}
	b := newBody(m)
	if !b.reserve(length) {
		b.release()
		return nil
	}
	b.copyFrom(old.first-first, old.body, old.length)
	b.copyFrom(o.first-first, o.body, o.length)
	b.size = length
	joined := o.copy()
	joined.body, joined.first, joined.length = b, first, length
	if joined.total = o.size(); length == joined.total {
		joined.total = 0 // nothing is missing: it is the whole
	}
	o.gen.retain(o.marks)
	joined.absorb(old)
	return joined
}

// mayStand reports whether a part may be stored beside what is stored: one of something else does not displace a whole answer
// that is fresh, or a request for one byte could empty the cache of it.
func (c *cache) mayStand(o *object, stored []*object) bool {
	if !o.partial() {
		return true
	}
	return !slices.ContainsFunc(stored, func(old *object) bool {
		dead, soft := c.generations.state(old)
		return !dead && !soft && !old.partial() && o.sameSelection(old) && !o.sameWhole(old) && old.came+int64(old.lifetime-old.initialAge) > o.came
	})
}

// prefix finds a part from the beginning of what a request asks for, to fetch no more than the rest: RFC 9111 section 3.3. The
// caller owns a reference.
func (c *cache) prefix(q *query, limit int64) *object {
	for _, o := range c.objects(q.key) {
		if !o.partial() || o.first != 0 || o.total > limit || !o.answers(q.header, q.accepted) || q.accepted != 0 && o.couldBeCompressed() {
			continue
		}
		if dead, _ := c.generations.state(o); !dead && o.acquire() {
			return o
		}
	}
	return nil
}

// askForRest makes a request to the origin one for what a prefix lacks, RFC 9110 section 13.1.5: all of it, if it is not a prefix
// of it any more.
func askForRest(req http.Header, prefix *object) {
	dropConditions(req)
	req["Range"] = []string{"bytes=" + strconv.FormatInt(prefix.length, 10) + "-"}
	req["If-Range"] = []string{prefix.header.get("Etag")}
}

// confirmsPart reports whether a 304 leaves a stale part what it is: one that brings another validator tells of another whole. It
// does for what is whole.
func (l *lead) confirmsPart() bool {
	if !l.stale.partial() {
		return true
	}
	for _, name := range [...]string{"Etag", "Last-Modified"} {
		if lines := l.header[name]; len(lines) > 0 && lines[0] != l.stale.header.get(name) {
			return false
		}
	}
	// Another Date may make a date in If-Range a weak one.
	merged := object{first: l.stale.first, length: l.stale.length, total: l.stale.total}
	merged.keep("", keepHeader(freshened(l.stale.header, l.header), nil, nil))
	return merged.holds(l.q)
}

// completes reports whether a 206 is the rest of a prefix.
func completes(h http.Header, prefix *object) bool {
	s, ok := parseContentRange(h["Content-Range"])
	return ok && s.total == prefix.total && s.start == prefix.length && s.start+s.length == s.total &&
		first1(h["Etag"]) == prefix.header.get("Etag")
}

// readSpan takes in what a 206 carries that was asked for. reason says why it cannot be stored.
func (l *lead) readSpan() (reason string) {
	s, ok := parseContentRange(l.header["Content-Range"])
	switch {
	case !ok || len(l.header["Etag"]) != 1 || !strings.HasPrefix(l.header["Etag"][0], `"`): // quoted, and not weak
		return reasonNotWhole
	case isMultipart(l.header): // which has no Content-Range of its own: RFC 9110 section 15.3.7.2
		return reasonNotWhole
	case s.length > l.h.maxObject():
		return reasonTooLarge
	}
	if lines := l.header["Content-Length"]; len(lines) > 1 || len(lines) == 1 && lines[0] != strconv.FormatInt(s.length, 10) {
		return reasonBadLength
	}
	l.span, l.expected = s, s.length
	if l.prefix != nil {
		l.span, l.expected = span{byteRange{0, s.total}, s.total}, s.total
	}
	return ""
}

func isMultipart(h http.Header) bool {
	kind, _, _ := strings.Cut(first1(h["Content-Type"]), ";")
	return strings.EqualFold(trimOWS(kind), "multipart/byteranges")
}
