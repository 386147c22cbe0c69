// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"net/url"
	"time"
)

// posted is the answer to a POST while it passes, to be stored for later GETs.
type posted struct {
	l      *lead // whose client gets the answer elsewhere
	stream *stream
	broken bool
}

// keepPost begins to keep the answer to a POST, if that says that it is what a GET of the same URI would get: a Content-Location of
// that URI and explicit freshness, RFC 9110 section 9.3.3. What the client sent in the body is no part of the key, so nothing less
// will do: credentials or a rewritten URI rule it out.
func (h *Handler) keepPost(r *http.Request, q *query, resp response, before http.Header) *posted {
	if !locates(resp.header, &q.target) || q.target.rewritten != "" || h.DryRun || h.bypassed(bodiless(r)) != "" ||
		len(r.Header["Authorization"])+len(r.Header["Cookie"])+len(r.Header["Range"]) > 0 {
		return nil
	}
	d, targeted := responseDirectives(resp.header)
	_, explicit := resp.explicitLifetime(d, targeted)
	// The origin was asked in the client's own words, and may have chosen a coding that this cache does not tell apart.
	if _, known := contentCoding(resp.header["Content-Encoding"]); !explicit || !known {
		return nil
	}
	get := *q
	get.method = http.MethodGet
	get.accepted = acceptedCodings(r.Header["Accept-Encoding"])
	get.directives = requestDirectives(r.Header)
	get.key = q.target.key(h.query, &h.cache.searches, h.extraKey(r))
	t, reason := storable(r.Header, get.directives, resp, h.policy)
	if reason != "" {
		return nil
	}
	// It began after the invalidation that the POST caused: what is stored before it is gone.
	f := h.cache.fills.alone(get.key, h.cache.generations.number.Load())
	l := &lead{h: h, r: r, q: &get, f: f, expected: -1, status: resp.status, header: resp.header, before: before, requested: resp.requested}
	p := &posted{l: l}
	if l.share(resp, t) != "" {
		p.drop()
		return nil
	}
	p.stream = f.stream
	return p
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

// write takes a piece of the answer. It holds up nobody: what cannot be kept ends the keeping.
func (p *posted) write(b []byte) {
	if p == nil || p.broken {
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
	if p == nil || p.broken || time.Since(p.l.requested) > longestFill {
		return
	}
	p.l.finishStream(nil)
}

// drop ends the keeping.
func (p *posted) drop() {
	if p == nil {
		return
	}
	f := p.l.f
	if !f.settled() {
		f.settle(notShared)
	}
	if f.stream != nil {
		f.stream.finish(errTruncated) // does nothing to one that has ended
	}
	p.l.h.cache.fills.remove(f)
	if f.object != nil {
		f.object.release()
		f.object = nil
	}
}
