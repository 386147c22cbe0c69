// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"net/url"
	"time"
)

// posted is a POST whose answer may be stored for later GETs, while it passes to its client.
type posted struct {
	h      *Handler
	r      *http.Request
	get    query // that the answer is stored for
	f      *fill
	l      *lead   // nil until the answer's header allows to keep it; its client gets the answer elsewhere
	stream *stream // likewise
	broken bool
}

// beginPost enters a POST among the fills before it is sent, so that what is purged meanwhile is not stored after all. It returns
// nil if the answer is not to be kept: what the client sends in the body is no part of the key, so it takes a site that allows it,
// and credentials or a rewritten URI rule it out.
func (h *Handler) beginPost(r *http.Request, q *query) *posted {
	if !h.StorePosts || h.DryRun || q.method != http.MethodPost || q.target.rewritten != "" || h.bypassed(bodiless(r)) != "" ||
		len(r.Header["Authorization"])+len(r.Header["Cookie"])+len(r.Header["Range"]) > 0 {
		return nil
	}
	p := &posted{h: h, r: r, get: *q}
	p.get.method = http.MethodGet
	p.get.accepted = acceptedCodings(r.Header["Accept-Encoding"])
	p.get.directives = requestDirectives(r.Header)
	p.get.key = q.target.key(h.query, &h.cache.searches, h.extraKey(r))
	p.f = h.cache.fills.alone(p.get.key, h.cache.generations.number.Load())
	return p
}

// fill is what the POST's own invalidation spares: nil if there is nothing.
func (p *posted) fill() *fill {
	if p == nil {
		return nil
	}
	return p.f
}

// keep begins to keep the answer, if it says that it is what a GET of the same URI would get: a Content-Location of that URI and
// explicit freshness, RFC 9110 section 9.3.3.
func (p *posted) keep(resp response, before http.Header) {
	if p == nil || resp.status != http.StatusOK || !locates(resp.header, &p.get.target) {
		return
	}
	d, targeted := responseDirectives(resp.header)
	_, explicit := resp.explicitLifetime(d, targeted)
	// The origin was asked in the client's own words, and may have chosen a coding that this cache does not tell apart.
	if _, known := contentCoding(resp.header["Content-Encoding"]); !explicit || !known {
		return
	}
	t, reason := storable(p.r.Header, p.get.directives, resp, p.h.policy)
	if reason != "" {
		return
	}
	l := &lead{h: p.h, r: p.r, q: &p.get, f: p.f, expected: -1, status: resp.status, header: resp.header, before: before, requested: resp.requested}
	if l.share(resp, t) == "" {
		p.l, p.stream = l, p.f.stream
	}
}

// bodiless is a request without its content, which a POST is not bypassed for.
func bodiless(r *http.Request) *http.Request {
	clone := *r
	clone.ContentLength = 0
	return &clone
}

// locates reports whether an answer's Content-Location is the target itself.
func locates(h http.Header, t *target) bool {
	lines := h["Content-Location"]
	base, err := url.Parse(t.base())
	if len(lines) != 1 || err != nil {
		return false
	}
	base.RawQuery = t.query
	u, err := base.Parse(lines[0])
	if err != nil || u.Fragment != "" {
		return false
	}
	located := targetOfURL(u)
	return located.base() == t.base() && located.query == t.query
}

// keeping reports whether the answer is being kept.
func (p *posted) keeping() bool { return p != nil && p.stream != nil && !p.broken }

// write takes a piece of the answer. It holds up nobody: what cannot be kept ends the keeping.
func (p *posted) write(b []byte) {
	if !p.keeping() {
		return
	}
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	for written := 0; written < len(b); {
		n := s.keep(b[written:])
		if written += n; n == 0 {
			p.broken = true
			return
		}
	}
}

// finish stores what came, if it is whole.
func (p *posted) finish() {
	if p.keeping() && time.Since(p.l.requested) <= longestFill {
		p.l.finishStream(nil)
	}
}

// drop ends the keeping.
func (p *posted) drop() {
	if p == nil {
		return
	}
	f := p.f
	if !f.settled() {
		f.settle(notShared)
	}
	if f.stream != nil {
		f.stream.finish(errTruncated) // does nothing to one that has ended
	}
	p.h.cache.fills.remove(f)
	if f.object != nil {
		f.object.release()
		f.object = nil
	}
}
