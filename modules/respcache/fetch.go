// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// longestWait is how long a request waits for the header of an answer that another one asked for, before it asks itself.
	longestWait = 20 * time.Second
	// maxJoins bounds how often a request looks for another fill, after one turned out not to be for it.
	maxJoins = 3
	// maxRefreshes bounds the refreshes that run in the background at once. Beyond it stale answers are used without one.
	maxRefreshes = 256
	// longestRefresh bounds one of them.
	longestRefresh = 2 * time.Minute
)

// request is what has to be asked of the upstream, and why.
type request struct {
	*query
	fwd   string
	stale *object // that is validated; nil if nothing is stored
	reuse reuse   // of stale
	dry   string  // what a dry run would have done
	// passed says that the answer is most likely not shared, and ends with its client.
	passed bool
}

// fetch gets an answer from upstream, or from a fill that asks for the same.
func (h *Handler) fetch(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, req *request) error {
	q, c := req.query, h.cache
	q.dry = req.dry
	own := q.method == http.MethodHead
	if !own {
		own = h.readRange(req)
	}
	passed := c.passes.has(c.passID(q))
	if own || passed && req.stale == nil {
		req.passed = true
		return h.lead(w, r, next, req, c.fills.alone(q.key, c.generations.number.Load()), own || q.part != "" || conditional(q.header))
	}
	if passed || h.DryRun || asksAlone(req) {
		return h.lead(w, r, next, req, c.fills.alone(q.key, c.generations.number.Load()), false)
	}
	var fields []varyField
	if !q.unknown {
		fields = c.names(q.key)
	}
	for range maxJoins {
		f, leads := c.fills.join(flightOf(q, fields), c.generations.number.Load())
		if leads && h.serveNew(w, r, next, req, f) {
			return nil
		}
		if leads {
			return h.lead(w, r, next, req, f, false)
		}
		done, other, err := h.follow(w, r, req, f)
		if done {
			return err
		}
		if other == nil {
			break
		}
		fields = other
	}
	return h.lead(w, r, next, req, c.fills.alone(q.key, c.generations.number.Load()), false)
}

// serveNew answers from the store after all, if another fill has ended since nothing was found there: or of a crowd, some who looked
// before and joined after would each ask the origin. It ends the fill then.
func (h *Handler) serveNew(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, req *request, f *fill) bool {
	if req.stale != nil {
		return false
	}
	o, soft, _ := h.cache.lookup(req.query)
	if o == nil {
		return false
	}
	defer o.release()
	plan := planReuse(&o.terms, &req.directives, o.age(time.Now()), soft)
	if plan.use != useFresh {
		return false
	}
	f.object = o
	f.settle(finished)
	h.cache.fills.remove(f)
	h.serveStored(w, r, next, req.query, o, plan)
	return true
}

// asksAlone reports whether a request waits for no other one: it wants more than what is stored for everybody, or the answer has to
// be validated each time, or it will most likely not be shared, as with Authorization (RFC 9111 section 3.5).
func asksAlone(req *request) bool {
	if req.stale == nil && len(req.header["Authorization"]) > 0 {
		return true
	}
	return req.stale != nil && !req.stale.everShareable() || req.fwd == fwdRequest || req.directives.noCache || req.directives.noStore
}

// readRange finds out which range the origin is asked for, and reports whether that is the client's own affair. Where a whole
// answer is stored it is validated, and where the origin knows no ranges the whole comes anyway.
func (h *Handler) readRange(req *request) (own bool) {
	var wish rangeWish
	wish, req.part = wishOf(req.header)
	if wish == partWish && (req.stale != nil && !req.stale.partial() || h.cache.unranged.has(h.cache.passID(req.query))) {
		req.part = ""
	}
	return wish == ownWish && (req.stale == nil || req.stale.partial())
}

func conditional(h http.Header) bool {
	return len(h["If-None-Match"])+len(h["If-Modified-Since"]) > 0
}

// follow waits for a fill that another request began. done is false if the answer is not for this request; other are then the
// fields by which to look for another fill, if that is worth while.
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, req *request, f *fill) (done bool, other []varyField, err error) {
	defer f.leave()
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	select {
	case <-f.ready:
	case <-timer.C:
		return false, nil, nil
	case <-r.Context().Done():
		return true, nil, r.Context().Err()
	}
	switch f.outcome {
	case failed:
		return h.followFailed(w, r, req, f)
	case streaming, finished:
		o := f.object
		if !o.acquire() {
			return false, append([]varyField{}, o.vary...), nil // it is stored by now, or was not kept: never nil
		}
		defer o.release()
		plan := planReuse(&o.terms, &req.directives, o.age(time.Now()), false)
		if dead, soft := h.cache.generations.state(o); dead || soft || plan.use != useFresh {
			return false, nil, nil
		}
		if !o.answers(req.header, req.accepted) || !o.holds(req.query) {
			return false, o.vary, nil
		}
		return h.followShared(w, r, req, f, plan)
	}
	return false, nil, nil
}

func (h *Handler) followFailed(w http.ResponseWriter, r *http.Request, req *request, f *fill) (bool, []varyField, error) {
	status := cacheStatus{fwd: req.fwd, collapsed: true, key: req.key, detail: "error"}
	if req.stale == nil || !h.cache.usableAfterError(req.stale, f, &req.directives, req.reuse, h.downFor(f.err)) {
		w.Header().Add("Cache-Status", status.String())
		h.done(r, outcomeError)
		return true, nil, f.err
	}
	status = cacheStatus{hit: true, ttl: req.reuse.ttl, hasTTL: true, key: req.key, detail: "stale-if-error"}
	h.done(r, outcomeStaleError)
	s := planServing(req.query, req.stale)
	m := writeHead(w, req.stale, &s, &status, req.reuse.age, true)
	_ = req.stale.writeBody(w, &s, m) // whose error is the client's
	return true, nil, nil
}

// followShared answers from a fill whose answer may be shared. The caller holds its object.
func (h *Handler) followShared(w http.ResponseWriter, r *http.Request, req *request, f *fill, plan reuse) (bool, []varyField, error) {
	o := f.object
	s := planServing(req.query, o)
	status := cacheStatus{fwd: req.fwd, ttl: plan.ttl, hasTTL: true, collapsed: true, key: req.key}
	if f.outcome == finished {
		h.done(r, outcomeCollapsed)
		m := writeHead(w, o, &s, &status, plan.age, true)
		_ = o.writeBody(w, &s, m)
		return true, nil, nil
	}
	if s.part == severalRanges {
		return false, nil, nil
	}
	reader, ok := f.stream.reader()
	if !ok {
		return false, nil, nil
	}
	h.done(r, outcomeCollapsed)
	writeHead(w, o, &s, &status, plan.age, true)
	var err error
	if s.part != noBody {
		err = reader.copyTo(r.Context(), w, s.stretch(o))
	}
	reader.leave()
	if err != nil { // the client must not take a part for the whole
		panic(http.ErrAbortHandler)
	}
	return true, nil, nil
}

// lead asks the upstream, for this request and for those that follow the fill. own sends the client's own conditions and ranges
// on.
func (h *Handler) lead(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, req *request, f *fill, own bool) (err error) {
	l := h.newLead(w, r, req.query, f, req.fwd)
	l.stale, l.reuse, l.own = req.stale, req.reuse, own
	if l.stale == nil && !own && req.part == "" && !req.unknown {
		if prefix := h.cache.prefix(req.query, h.maxObject()); prefix != nil {
			l.prefix = prefix
			defer prefix.release()
		}
	}
	l.ctx = r.Context()
	if !req.passed { // the fill outlives its client if others wait for it, or if it is worth storing
		ctx, cancel := context.WithCancel(context.WithoutCancel(l.ctx))
		defer cancel()
		f.cancel, l.ctx = cancel, ctx
		stop := context.AfterFunc(r.Context(), f.abandon)
		defer stop()
	}
	defer h.endFill(l)
	err = l.ask(next, l.upstreamRequest(l.ctx))
	if l.mode == again {
		l.restart()
		err = l.ask(next, l.upstreamRequest(l.ctx))
	}
	return l.complete(err)
}

// endFill runs last, also when the next handler panicked: then nothing of the answer is kept, and whoever has a part of it is cut
// off.
func (h *Handler) endFill(l *lead) {
	f := l.f
	if !f.settled() {
		f.settle(notShared)
	}
	if f.stream != nil {
		f.stream.finish(errTruncated) // does nothing to one that has ended
	}
	h.cache.fills.remove(f)
	if f.object != nil {
		f.object.release()
	}
	if l.w != nil {
		h.done(l.r, l.outcome())
	}
}

// done counts and records what became of a request.
func (h *Handler) done(r *http.Request, o outcomeKind) {
	h.count(o)
	h.record(r, o)
}

// outcome is what became of the request that led a fill.
func (l *lead) outcome() outcomeKind {
	switch {
	case l.mode == undecided:
		return outcomeError
	case l.stale != nil && l.mode == discarded && l.f.object == nil && l.reason == "":
		return outcomeStaleError
	case l.mode == discarded && l.f.object != nil:
		return outcomeValidated
	case l.f.object != nil:
		return outcomeMiss
	}
	return outcomePass
}

// ask calls the next handler. It is called on the goroutine of the client's request, so that handlers may use what belongs
// to it.
func (l *lead) ask(next caddyhttp.Handler, r *http.Request) error {
	l.requested = time.Now()
	defer func() {
		if reason := recover(); reason != nil {
			l.panicked()
			panic(reason)
		}
	}()
	return next.ServeHTTP(l, r)
}

// panicked ends a stream before the panic goes on, and waits for the goroutine that writes to the client: it must not use the
// writer after the request's end.
func (l *lead) panicked() {
	if l.mode != shared {
		return
	}
	l.h.countDrop(reasonBroken)
	l.f.stream.finish(errTruncated)
	if l.sent != nil {
		<-l.sent
		l.sent = nil
	}
}

// upstreamRequest is the request as the upstream gets it.
func (l *lead) upstreamRequest(ctx context.Context) *http.Request {
	r := l.r.WithContext(ctx)
	r.Header = l.r.Header.Clone()
	if l.own || l.q.method != http.MethodGet {
		return r
	}
	// What is stored must depend on the key alone: on the set of codings, not on how the client wrote it.
	if codings := l.q.accepted.normalized(); codings != "" {
		r.Header["Accept-Encoding"] = []string{codings}
	} else {
		delete(r.Header, "Accept-Encoding")
	}
	switch {
	case l.prefix != nil:
		askForRest(r.Header, l.prefix)
	case l.stale != nil && l.mode != again:
		l.asked = setValidators(r.Header, l.stale.header)
	default:
		dropConditions(r.Header)
	}
	if l.q.part != "" { // beside If-None-Match it counts if that finds a change: RFC 9110 section 13.2.2
		r.Header["Range"] = []string{l.q.part}
	}
	return r
}

// restart prepares to ask once more: the origin said that something has not changed which is not what is stored.
func (l *lead) restart() {
	l.mode, l.stale, l.asked, l.prefix = undecided, nil, false, nil
	l.span, l.expected = span{}, -1
	copyInto(l.header, l.before)
}
