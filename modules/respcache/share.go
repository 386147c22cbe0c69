// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// share begins a stream for an answer that may be stored, or says why it is not one.
func (l *lead) share(resp response, t terms) (reason string) {
	fields, reason := selecting(l.header["Vary"], l.q.header)
	if reason != "" {
		return reason
	}
	tags, groups, ok := tagsOf(l.header)
	if !ok {
		return reasonTags
	}
	if l.own || l.q.method != http.MethodGet {
		return reasonNotWhole
	}
	if l.status == http.StatusPartialContent {
		t.withheld = append(t.withheld, "Content-Range", "Content-Digest", "Content-Md5")
		reason = l.readSpan()
	} else {
		reason = l.readLength()
	}
	if reason != "" {
		return reason
	}
	o := l.newObject(resp, t, l.before, fields)
	o.length = l.expected
	if l.span.length < l.span.total {
		o.first, o.total = l.span.start, l.span.total
	}
	if !o.holds(l.q) { // the origin gives what was not asked for, which it may
		return reasonNotWhole
	}
	b := &o.own
	if l.expected < 0 { // the object is going to be copied once its length is known: the body must not keep it
		b = newBody(&l.h.cache.memory)
	} else {
		b.begin(&l.h.cache.memory)
	}
	if l.expected > 0 && !b.reserve(l.expected) {
		b.release()
		return reasonNoRoom
	}
	o.body = b
	o.mark(namesOf(&l.q.target, tags, groups))
	l.h.cache.learn(l.q, l.header)
	l.f.object, l.f.stream, l.f.stored = o, newStream(b, l.h.maxObject()), true
	if l.status == http.StatusPartialContent && !o.partial() {
		o.forPlainClients()
	}
	if l.prefix != nil {
		o.absorb(l.prefix)
		b.copyFrom(0, l.prefix.body, l.prefix.length)
		l.f.stream.size = l.prefix.length
	}
	l.mode = shared
	if t.shareable() && !l.f.invalid.Load() {
		l.f.settle(streaming)
	} else {
		l.f.settle(notShared)
	}
	l.serveStream(o)
	return ""
}

// readLength reads Content-Length, and refuses what cannot be stored by it.
func (l *lead) readLength() (reason string) {
	lines := l.header["Content-Length"]
	switch {
	case l.status == http.StatusNoContent || l.status == http.StatusResetContent:
		l.expected = 0
		return ""
	case len(lines) == 0:
		return ""
	case len(lines) > 1:
		return reasonBadLength
	}
	n, err := strconv.ParseInt(lines[0], 10, 64)
	switch {
	case err != nil || n < 0:
		return reasonBadLength
	case n > l.h.maxObject():
		return reasonTooLarge
	}
	l.expected = n
	return ""
}

// newObject makes an object of an answer, without a body. outer is what of its header outer handlers had set.
func (l *lead) newObject(resp response, t terms, outer http.Header, vary []varyField) *object {
	coding, known := contentCoding(resp.header["Content-Encoding"])
	o := &object{
		terms: t, status: resp.status, vary: vary, accepted: l.q.accepted,
		varies: variesOnCodings(resp.header["Vary"]), coding: coding, known: known,
		born: resp.received.Add(-t.initialAge).UnixNano(), came: resp.received.UnixNano(),
		began: l.f.began, gen: &l.h.cache.generations,
	}
	o.refs.Store(1)
	fields := keepHeader(resp.header, outer, t.withheld)
	if fieldOf(fields, "Date") == "" { // RFC 9110 section 6.6.1
		fields = append(fields, headerField{"Date", resp.received.UTC().Format(http.TimeFormat)})
	}
	o.keep(l.q.key, fields)
	o.withheld = nil
	var removed []string
	for name := range l.before {
		if l.header[name] == nil {
			removed = append(removed, name)
		}
	}
	o.removed = strings.Join(removed, keySeparator)
	return o
}

// smallBody is the largest body that is written to the client on the goroutine of its request, if it comes at once: waking another
// one for so little costs more than writing it.
const smallBody = 16 << 10

// serveStream answers the client with a stream's object, and leaves its body to a goroutine unless it is small.
func (l *lead) serveStream(o *object) {
	if l.w == nil {
		return
	}
	s := planServing(l.q, o)
	status := cacheStatus{fwd: l.fwd, fwdStatus: l.status, ttl: o.lifetime - o.initialAge, hasTTL: true, stored: true, key: l.q.key}
	if s.part == severalRanges { // which are read from the store once it is whole
		s = serving{status: o.status, part: wholeBody}
	}
	l.q.dryDetail(&status)
	writeHead(l.w, o, &s, &status, o.initialAge, o.initialAge >= time.Second || l.header["Age"] != nil)
	if l.small = &s; l.expected < 0 || l.expected > smallBody || l.prefix != nil {
		l.detach()
	}
}

// deliver writes a small body, which is whole.
func (l *lead) deliver() {
	if s := l.small; s.part != noBody {
		part := s.stretch(l.f.object)
		l.fault = l.f.object.body.writeTo(l.w, part.start, min(part.length, l.expected))
	}
}

// detach leaves the body to a goroutine, if that has not been done: neither a slow client nor a slow upstream holds up the other.
func (l *lead) detach() {
	if l.small == nil {
		return
	}
	s := l.small
	l.small = nil
	reader, ok := l.f.stream.reader()
	if !ok {
		panic("BUG: a new stream has no beginning")
	}
	l.sent = make(chan error, 1)
	go func(client context.Context) {
		var err error
		if s.part != noBody {
			err = reader.copyTo(client, l.w, s.stretch(l.f.object))
		}
		reader.leave()
		l.sent <- err
	}(l.r.Context())
}

// learn remembers what an answer says about the queries of its path.
func (c *cache) learn(q *query, h http.Header) {
	if q.target.query == "" && len(h["No-Vary-Search"]) == 0 {
		return
	}
	rule := parseNoVarySearch(h["No-Vary-Search"])
	base := q.target.base()
	if len(base) > maxSearchBase {
		return
	}
	if old := c.searches.of(base); rule != nil || old != nil {
		c.searches.learn(base, rule)
	}
}

// finishStream ends a stream and stores what came, if it is whole.
func (l *lead) finishStream(err error) {
	s, o := l.f.stream, l.f.object
	trailers := false
	for name := range l.header {
		trailers = trailers || strings.HasPrefix(name, http.TrailerPrefix)
	}
	n := s.length()
	if err == nil && l.expected >= 0 && n != l.expected {
		err = errTruncated
	}
	whole := s.finish(err)
	switch {
	case err != nil:
		l.reason, l.cut = reasonBroken, true
		l.h.countDrop(reasonBroken)
		return
	case !whole:
		l.reason = reasonTooLarge
	case trailers:
		l.reason = reasonTrailers
	case time.Since(l.requested) > longestFill:
		l.reason = reasonBroken
	}
	if l.reason != "" {
		l.h.countDrop(l.reason)
		return
	}
	kept := o
	if o.length < 0 { // its length is known now; readers of the stream hold the object without
		kept = o.withLength(n)
		defer kept.release()
	}
	var stored bool
	if stored, l.reason = l.h.cache.put(l.f, kept, l.h.Variants, l.h.maxObject()); stored {
		l.h.cache.passes.remove(l.h.cache.passID(l.q))
		return
	}
	l.h.countDrop(l.reason)
}

// withLength is a copy of an object whose length is known.
func (o *object) withLength(n int64) *object {
	if !o.body.acquire() {
		panic("BUG: the body of a held object is gone")
	}
	o.gen.retain(o.marks)
	kept := o.copy()
	kept.length = n
	return kept
}
