// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"time"
)

// use is what becomes of a request in view of a stored answer.
type use uint8

const (
	useFresh      use = iota // the stored answer is used
	useStale                 // it is used, stale as it is, because the request allows that
	useAndRefresh            // it is used and refreshed in the background: RFC 5861 section 3
	validate                 // the origin is asked whether it still holds
)

// String is the word for it in Cache-Status.
func (u use) String() string { return [...]string{"hit", "stale", "stale", "validate"}[u] }

// reuse is the decision about one stored answer.
type reuse struct {
	use use
	// fwd is the reason to go to the origin, RFC 9211 section 2.2; empty if it is not asked now.
	fwd string
	// age is the answer's age, and ttl what is left of its lifetime: negative once it is stale.
	age, ttl time.Duration
}

// planReuse decides whether a stored answer may be used for a request, RFC 9111 section 4. age is its current age, section
// 4.2.3; stale says that it is to be taken for stale whatever its age, after a soft purge.
func planReuse(t *terms, req *directives, age time.Duration, stale bool) reuse {
	r := reuse{age: age, ttl: t.lifetime - age}
	if stale {
		r.ttl = min(r.ttl, 0)
	}
	staleFor := -r.ttl
	switch {
	case req.noCache: // section 5.2.1.4
		r.use, r.fwd = validate, fwdRequest
	case t.alwaysValidate: // section 5.2.2.4
		r.use, r.fwd = validate, fwdStale
	case r.ttl > 0:
		// Sections 5.2.1.1 and 5.2.1.3: the client wants it younger, or fresh for longer.
		if req.maxAge != absent && age > req.maxAge && !(req.maxStale != absent && age-req.maxAge <= req.maxStale) ||
			req.minFresh != absent && r.ttl < req.minFresh {
			r.use, r.fwd = validate, fwdRequest
		}
	case t.neverStale: // sections 4.2.4, 5.2.2.2, 5.2.2.8 and 5.2.2.10
		r.use, r.fwd = validate, fwdStale
	case req.minFresh != absent:
		r.use, r.fwd = validate, fwdStale
	case req.maxStale != absent && staleFor <= req.maxStale: // section 5.2.1.2
		r.use = useStale
	case req.maxAge == absent && staleFor < t.staleWhile: // RFC 5861 section 3
		r.use = useAndRefresh
	default:
		r.use, r.fwd = validate, fwdStale
	}
	return r
}

// usableAfterError reports whether a stale answer may be used because the origin failed: RFC 5861 section 4 and RFC 9111
// section 4.2.4. down says that the configuration serves stale answers while the upstream is down, for that long.
func usableAfterError(t *terms, req *directives, r reuse, down time.Duration) bool {
	if t.neverStale || t.alwaysValidate || req.noCache {
		return r.ttl > 0 && !t.alwaysValidate && !req.noCache
	}
	window := max(t.staleIfError, down)
	if req.staleIfError != absent {
		window = max(window, req.staleIfError)
	}
	return r.ttl > 0 || -r.ttl < window
}

// usableAfterError is the same for an object that was found before the origin was asked: what was purged or made invalid meanwhile
// is not used any more.
func (c *cache) usableAfterError(o *object, f *fill, req *directives, r reuse, down time.Duration) bool {
	dead, _ := c.generations.state(o)
	return !dead && !f.invalid.Load() && usableAfterError(&o.terms, req, r, down)
}

// originFailed reports whether a status is an error in the sense of RFC 5861 section 4.
func originFailed(status int) bool {
	return status == 500 || status == 502 || status == 503 || status == 504
}

// requestDirectives are what a request says, RFC 9111 section 5.2.1. Pragma counts only without Cache-Control: section 5.4.
func requestDirectives(h map[string][]string) directives {
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		d := noDirectives()
		if pragma := h["Pragma"]; len(pragma) > 0 {
			d.noCache = hasNoCachePragma(pragma)
		}
		return d
	}
	return parseCacheControl(lines)
}
