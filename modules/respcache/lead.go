// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// mode is what a lead does with what the next handler writes.
type mode uint8

const (
	undecided mode = iota // no header yet
	direct                // it goes to the client as it is
	shared                // it goes into a stream, which the client reads like everybody who waits
	discarded             // the client has been answered from the store
	again                 // the origin has to be asked once more, without conditions
)

// lead is one request to the upstream: it is the response writer of the next handler, and decides when the header comes what
// becomes of the answer. The next handler runs in the goroutine of the client's request; a stream's content is written to
// the client by another one, so that a slow client holds up nobody.
type lead struct {
	h     *Handler
	w     http.ResponseWriter // of the client; nil for a refresh in the background
	r     *http.Request       // of the client
	ctx   context.Context     // of the fill, which may outlive the client's
	q     *query
	f     *fill
	stale *object // that is validated, or used if the upstream fails; nil if there is none
	reuse reuse   // of stale
	fwd   string
	// own says that the client's own conditions and ranges were sent on, so that the answer may be no whole one.
	own bool
	// asked says that the validators of stale were sent.
	asked bool
	// prefix is what is stored of the beginning of what is asked for, if only the rest is: nil if not.
	prefix *object
	// span is what a 206 carries that is going to be stored.
	span span

	before    http.Header // what outer handlers had set: the client's own, as long as nothing is decided
	header    http.Header // what the next handler sees
	mode      mode
	status    int
	requested time.Time
	received  time.Time // the header
	expected  int64     // Content-Length, or -1
	reason    string
	cut       bool       // the answer ended before its end
	sent      chan error // of the goroutine that writes to the client; nil if there is none
	// Of a small body that goes to the client once the fill is over, without that goroutine.
	small *serving // how it answers; nil for none
	wrote bool     // the client has been written to, on the goroutine of its request
	fault error    // of that
}

func (h *Handler) newLead(w http.ResponseWriter, r *http.Request, q *query, f *fill, fwd string) *lead {
	l := &lead{h: h, w: w, r: r, q: q, f: f, fwd: fwd, expected: -1}
	if w != nil {
		l.before = w.Header()
	}
	l.header = l.before.Clone()
	if l.header == nil {
		l.header = http.Header{}
	}
	return l
}

// Header implements http.ResponseWriter.
func (l *lead) Header() http.Header {
	if l.mode == direct {
		return l.w.Header() // for trailers
	}
	return l.header
}

// Unwrap lets http.ResponseController hijack and set deadlines, which concern the client's connection alone.
func (l *lead) Unwrap() http.ResponseWriter { return l.w }

// WriteHeader implements http.ResponseWriter.
func (l *lead) WriteHeader(status int) {
	switch {
	case l.mode != undecided:
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		l.informational(status)
	default:
		l.status = status
		l.received = time.Now()
		l.decide()
	}
}

// informational passes 103 Early Hints and its like to the client that began the fill.
func (l *lead) informational(status int) {
	if l.w == nil {
		return
	}
	h, saved := l.w.Header(), l.before.Clone()
	copyInto(h, l.header)
	l.w.WriteHeader(status)
	copyInto(h, saved)
}

// copyInto makes dst hold what src does, and nothing else.
func copyInto(dst, src http.Header) {
	clear(dst)
	for name, values := range src {
		dst[name] = slices.Clone(values)
	}
}

// Write implements http.ResponseWriter.
func (l *lead) Write(p []byte) (int, error) {
	if l.mode == undecided {
		l.WriteHeader(http.StatusOK)
	}
	switch l.mode {
	case direct:
		return l.w.Write(p)
	case shared:
		return l.writeShared(p)
	}
	return len(p), nil
}

// writeShared puts content into the stream. A small body that comes at once goes to the client when the fill is over, which must not
// wait for a slow one; what does not come at once goes there by a goroutine of its own.
func (l *lead) writeShared(p []byte) (int, error) {
	if l.small != nil && l.f.stream.length()+int64(len(p)) != l.expected {
		l.detach()
	}
	return l.f.stream.write(l.ctx, p)
}

// ReadFrom implements io.ReaderFrom: what passes goes the way of io.Copy, what is stored comes by Write.
func (l *lead) ReadFrom(r io.Reader) (int64, error) {
	if l.mode == undecided {
		l.WriteHeader(http.StatusOK)
	}
	if l.mode == direct {
		return io.Copy(l.w, r)
	}
	return io.Copy(struct{ io.Writer }{l}, r)
}

// FlushError implements the interface that http.ResponseController looks for. A stream needs no flush: its readers do that.
func (l *lead) FlushError() error {
	if l.mode == undecided {
		l.WriteHeader(http.StatusOK)
	}
	if l.mode == direct {
		return http.NewResponseController(l.w).Flush()
	}
	l.detach()
	return nil
}

// decide is called once, when the header of the answer is known.
func (l *lead) decide() {
	resp := response{status: l.status, header: l.header, requested: l.requested, received: l.received}
	if l.stale != nil {
		switch {
		case l.asked && l.status == http.StatusNotModified && selects(l.header, l.stale.header) && l.confirmsPart():
			l.confirm(resp)
			return
		case l.asked && l.status == http.StatusNotModified:
			l.mode = again
			return
		case l.status == http.StatusOK && l.q.method == http.MethodHead:
			l.head(resp)
		case originFailed(l.status) && l.h.cache.usableAfterError(l.stale, l.f, &l.q.directives, l.reuse, l.h.serveStale):
			l.mode = discarded
			l.f.settle(notShared)
			l.serveStale(strconv.Itoa(l.status))
			return
		}
	}
	if l.prefix != nil && !l.rest() {
		return
	}
	reason := l.ranged(&resp)
	var t terms
	if reason == "" {
		t, reason = storable(l.q.header, l.q.directives, resp, l.h.policy)
	}
	if reason == "" {
		reason = l.share(resp, t)
	}
	switch {
	case reason == "":
	case l.prefix != nil: // the rest alone is no answer to a request for the whole
		l.mode = again
	default:
		l.pass(reason)
	}
}

// rest looks at the answer to a request for what a prefix lacks. It reports false if the origin has to be asked for the whole: the
// answer is neither that nor the rest, or says that there is none.
func (l *lead) rest() bool {
	switch {
	case l.status == http.StatusPartialContent && completes(l.header, l.prefix):
		return true
	case l.status == http.StatusOK || l.status >= 500:
		l.prefix = nil
		return true
	}
	l.mode = again
	return false
}

// ranged says why the answer to a request for a part is not stored. Of those only a part is: what else an origin answers to a range
// need not be what it answers without, and clients choose ranges.
func (l *lead) ranged(resp *response) (reason string) {
	switch {
	case l.status == http.StatusPartialContent && (l.q.part != "" || l.prefix != nil):
		resp.status = http.StatusOK // which it is a part of; RFC 9110 section 15.3.7
		return ""
	case l.q.part == "":
		return ""
	case l.status == http.StatusOK:
		l.h.cache.unranged.add(l.h.cache.passID(l.q), l.received)
	}
	return reasonNotWhole
}

// pass gives an answer that is not stored to the client, as it is, while it comes.
func (l *lead) pass(reason string) {
	l.reason = reason
	l.f.settle(notShared)
	if l.w == nil {
		l.mode = discarded
		return
	}
	// What the client itself asked for, and what passes, says nothing about the next answer.
	if reason != reasonNoRoom && reason != reasonRequest && reason != reasonVaryTooLong && l.status < 500 && l.q.method == http.MethodGet && !l.own && !l.chosenRange(reason) {
		l.h.cache.passes.add(l.h.cache.passID(l.q), l.received)
	}
	// The client's conditions were taken off for the cache's sake: they hold for the client still.
	unchanged := !l.own && l.status == http.StatusOK && conditional(l.q.header) && notModified(l.q.header, validators(l.header), l.received)
	h := l.w.Header()
	clear(h)
	maps.Copy(h, l.header) // which nobody uses any more
	status := cacheStatus{fwd: l.fwd, fwdStatus: l.status, key: l.q.key, detail: reason}
	l.q.dryDetail(&status)
	h["Cache-Status"] = append(h["Cache-Status"], status.String())
	if unchanged {
		for _, name := range [...]string{"Content-Length", "Content-Type", "Content-Encoding"} {
			delete(h, name)
		}
		l.mode = discarded
		l.w.WriteHeader(http.StatusNotModified)
		// The upstream's body is read to its end for nothing, this once; the client need not wait for that.
		_ = http.NewResponseController(l.w).Flush()
		return
	}
	l.mode = direct
	l.w.WriteHeader(l.status)
}

// chosenRange reports whether an answer is not stored because of the range that the client chose, which says nothing about other
// ranges.
func (l *lead) chosenRange(reason string) bool {
	return l.q.part != "" && (l.status != http.StatusPartialContent || reason == reasonTooLarge || reason == reasonBadLength)
}

// confirm takes in a 304: the stored answer holds, with the header as the 304 updates it. RFC 9111 section 4.3.4.
func (l *lead) confirm(resp response) {
	l.mode = discarded
	o, stored, shareable, reason := l.freshen(resp)
	l.f.object = o
	if stored && shareable {
		l.f.settle(finished)
	} else {
		l.f.settle(notShared)
	}
	l.reason = reason
	if l.w == nil {
		return
	}
	s := planServing(l.q, o)
	status := cacheStatus{
		fwd: l.fwd, fwdStatus: http.StatusNotModified, ttl: o.lifetime - o.initialAge, hasTTL: true,
		stored: stored, key: l.q.key, detail: reason,
	}
	if cookies := l.header["Set-Cookie"]; len(cookies) > 0 { // for this client, and no other
		l.w.Header()["Set-Cookie"] = slices.Clone(cookies)
	}
	m := writeHead(l.w, o, &s, &status, o.initialAge, true)
	l.finishBody(o, &s, m)
}

// serveStale answers with the stale object because the upstream failed.
func (l *lead) serveStale(why string) {
	if l.w == nil {
		return
	}
	s := planServing(l.q, l.stale)
	status := cacheStatus{hit: true, ttl: l.reuse.ttl, hasTTL: true, key: l.q.key, detail: "stale-if-error-" + why}
	m := writeHead(l.w, l.stale, &s, &status, l.reuse.age, true)
	l.finishBody(l.stale, &s, m)
}

// finishBody writes the body of an object, and keeps how that went for the end of the request.
func (l *lead) finishBody(o *object, s *serving, m *multipart) {
	l.wrote, l.fault = true, o.writeBody(l.w, s, m)
}

// complete ends the fill after the next handler has returned with err, and reports what the handler returns.
func (l *lead) complete(err error) error {
	if l.mode == undecided && err == nil {
		// Nobody answered: net/http makes an empty 200 of it, as it would without a cache.
		l.reason = reasonNoFreshness
		l.f.settle(notShared)
		if l.w != nil {
			copyInto(l.w.Header(), l.header)
		}
		return nil
	}
	if l.mode == undecided {
		return l.failed(err)
	}
	if l.mode == shared {
		l.finishStream(err)
	}
	return l.awaitClient(err)
}

// awaitClient waits until the client has its answer. A client that has part of one must not take it for the whole: its
// connection is cut, as net/http does for a handler that panics with ErrAbortHandler.
func (l *lead) awaitClient(err error) error {
	switch {
	case l.sent != nil:
		l.fault = <-l.sent
	case l.small != nil && err == nil && !l.cut:
		l.deliver()
	case !l.wrote && l.small == nil:
		return err
	}
	sent := l.fault
	if l.mode == shared && (err != nil || sent != nil || l.cut) {
		panic(http.ErrAbortHandler)
	}
	if sent != nil {
		return nil // the client is gone, which is nobody's fault
	}
	if l.mode == discarded {
		return nil
	}
	if l.mode == shared {
		l.sendTrailers()
	}
	return err
}

// sendTrailers gives trailers that nobody announced to the client that asked. net/http sends them only with chunks, which a flush
// makes it use.
func (l *lead) sendTrailers() {
	for name, values := range l.header {
		if strings.HasPrefix(name, http.TrailerPrefix) && http.NewResponseController(l.w).Flush() == nil {
			l.w.Header()[name] = values
		}
	}
}

// statusOf is the status that a returned error stands for.
func statusOf(err error) int {
	var answer caddyhttp.HandlerError
	if errors.As(err, &answer) && answer.StatusCode != 0 {
		return answer.StatusCode
	}
	return http.StatusInternalServerError
}

// downFor is how long a stale answer is used after an error that the next handler returned instead of an answer. One that says that
// the origin cannot be reached leaves the cache disconnected, which RFC 9111 section 4.2.4 allows stale answers for.
func (h *Handler) downFor(err error) time.Duration {
	if status := statusOf(err); status == http.StatusInternalServerError {
		return h.serveStale
	}
	return h.policy.whileDown
}

// failed is for a next handler that returned an error and wrote nothing.
func (l *lead) failed(err error) error {
	status := statusOf(err)
	canceled := l.ctx.Err() != nil
	if !canceled && originFailed(status) {
		l.f.err = err
		l.f.settle(failed)
	} else {
		l.f.settle(notShared)
		if !canceled && l.q.part == "" { // or clients that go away would take collapsing from those that stay
			l.h.cache.passes.add(l.h.cache.passID(l.q), time.Now())
		}
	}
	if l.w == nil || canceled {
		return err
	}
	if l.stale != nil && originFailed(status) && l.h.cache.usableAfterError(l.stale, l.f, &l.q.directives, l.reuse, l.h.downFor(err)) {
		l.mode = discarded
		l.serveStale(strconv.Itoa(status))
		return l.awaitClient(nil)
	}
	cs := cacheStatus{fwd: l.fwd, key: l.q.key, detail: "error"}
	h := l.w.Header()
	h["Cache-Status"] = append(h["Cache-Status"], cs.String())
	return err
}
