// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"strings"
	"time"
)

// Reasons why an answer is not stored, as the detail of Cache-Status.
const (
	reasonNoStore       = "no-store"
	reasonPrivate       = "private"
	reasonSetCookie     = "set-cookie"
	reasonAuthorization = "authorization"
	reasonCookie        = "cookie"
	reasonVaryAll       = "vary-all"
	reasonVaryTooMany   = "vary-too-many"
	reasonVaryTooLong   = "vary-too-long" // the client's values
	reasonNotWhole      = "not-whole"
	reasonNotUnderstood = "must-understand"
	reasonNoFreshness   = "no-freshness"
	reasonStream        = "stream"
	reasonTooLarge      = "too-large"
	reasonTrailers      = "trailers"
	reasonRequest       = "request-no-store"
	reasonNoRoom        = "no-room"
	reasonBroken        = "broken"
	reasonPurged        = "purged"
	reasonBadLength     = "bad-length"
)

// terms are how an answer may be stored and used again.
type terms struct {
	lifetime   time.Duration // from its making on
	initialAge time.Duration // when it was received
	// alwaysValidate is no-cache: never used before the origin agreed.
	alwaysValidate bool
	// neverStale is must-revalidate, proxy-revalidate or s-maxage: never used once stale, also not after an error.
	neverStale bool
	// staleWhile and staleIfError are how long after its lifetime it may be used, RFC 5861.
	staleWhile, staleIfError time.Duration
	// whileDown is how long after its lifetime it may be used while the origin cannot be reached.
	whileDown time.Duration
	// withheld are header fields that are not stored: those of Connection and of qualified private and no-cache.
	withheld []string
}

// storagePolicy is what the configuration adds to the rules of storage.
type storagePolicy struct {
	freshnessPolicy
	// grace is how long a stale answer may be used while it is refreshed, if the answer does not say.
	grace time.Duration
	// whileDown is how long a stale answer may be used while the origin cannot be reached.
	whileDown time.Duration
}

// storable decides whether the answer to a GET may be stored in a shared cache, RFC 9111 section 3, and on which terms.
// reason says why not.
func storable(req http.Header, reqDirectives directives, r response, p storagePolicy) (t terms, reason string) {
	d, targeted := responseDirectives(r.header)
	if reason = prohibited(req, reqDirectives, d, r); reason != "" {
		return t, reason
	}
	lifetime, told := r.lifetime(d, targeted, p.freshnessPolicy)
	validator := r.header["Etag"] != nil || r.header["Last-Modified"] != nil
	t = terms{
		lifetime:       lifetime,
		initialAge:     r.initialAge(),
		alwaysValidate: d.noCache,
		// Section 5.2.2.10: s-maxage incorporates the semantics of proxy-revalidate.
		neverStale: d.mustRevalidate || d.proxyRevalidate || d.sMaxAge != absent,
		withheld:   append(append(connectionFields(r.header), d.privateFields...), d.noCacheFields...),
	}
	if !t.neverStale && !t.alwaysValidate {
		t.staleWhile = given(d.staleWhileRevalidate, p.grace)
		t.staleIfError = given(d.staleIfError, 0)
		t.whileDown = p.whileDown
	}
	_, explicit := r.explicitLifetime(d, targeted)
	switch {
	// Nobody said that it may be shared, and the request tells who the client is: the answer may be for this client alone.
	case !explicit && !d.public && len(req["Cookie"]) > 0:
		return t, reasonCookie
	case !told && !heuristicStatus(r.status) && !d.public: // the last condition of section 3
		return t, reasonNoFreshness
	case !validator && (!told || t.alwaysValidate || !t.everUsable()): // it could neither be used nor be asked about
		return t, reasonNoFreshness
	}
	return t, ""
}

// everUsable reports whether the answer can be used at all without asking the origin.
func (t terms) everUsable() bool {
	return t.lifetime+max(t.staleWhile, t.staleIfError) > t.initialAge
}

// everShareable reports whether the answer, or one that confirms it, may be expected to be shareable.
func (t terms) everShareable() bool { return !t.alwaysValidate && t.lifetime > 0 }

// shareable reports whether the answer may be given to requests that came before it: those that wait for it.
func (t terms) shareable() bool { return !t.alwaysValidate && t.lifetime > t.initialAge }

// prohibited says what forbids storing the answer, if anything does.
func prohibited(req http.Header, reqDirectives, d directives, r response) string {
	switch {
	case reqDirectives.noStore: // section 5.2.1.5
		return reasonRequest
	// Section 5.2.2.3: an answer with must-understand is not stored if its status is not understood; no-store beside it
	// is for caches that do not know must-understand.
	case d.mustUnderstand && !understood(r.status):
		return reasonNotUnderstood
	case d.noStore && !d.mustUnderstand: // section 5.2.2.5
		return reasonNoStore
	case d.private: // section 5.2.2.7
		return reasonPrivate
	case r.status == http.StatusPartialContent || r.status == http.StatusNotModified || r.status < 200:
		return reasonNotWhole // section 3.3
	case len(r.header["Set-Cookie"]) > 0: // section 7.3: RFC 9111 leaves it to the origin, which forgets
		return reasonSetCookie
	// Section 3.5. A qualified public does not exist; "public", "s-maxage" and "must-revalidate" allow it.
	case len(req["Authorization"]) > 0 && !d.public && !d.mustRevalidate && d.sMaxAge == absent:
		return reasonAuthorization
	case len(r.header["Trailer"]) > 0:
		return reasonTrailers
	case streams(r.header):
		return reasonStream
	}
	return ""
}

// streams reports whether an answer is sent piece by piece and has no end worth waiting for.
func streams(h http.Header) bool {
	kind, _, _ := strings.Cut(first1(h["Content-Type"]), ";")
	kind = trimOWS(kind)
	return strings.EqualFold(kind, "text/event-stream") || strings.EqualFold(kind, "multipart/x-mixed-replace") ||
		len(kind) >= len(grpcType) && strings.EqualFold(kind[:len(grpcType)], grpcType) || len(h["Incremental"]) > 0
}

const grpcType = "application/grpc"

// understood reports whether this cache knows what a status means for caching, RFC 9111 section 3: all that RFC 9110
// defines, save 206 and 304, which are not stored.
func understood(status int) bool {
	return http.StatusText(status) != "" && status != http.StatusPartialContent && status != http.StatusNotModified
}

// given is a duration, or the other one if it is absent.
func given(d, otherwise time.Duration) time.Duration {
	if d == absent {
		return otherwise
	}
	return d
}

// hopByHop reports whether a field concerns one connection, RFC 9111 section 3.1 and RFC 9110 section 7.6.1. Proxy-Authenticate
// and its like do: section 3.1 again.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Transfer-Encoding", "Upgrade", "Trailer",
		"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization":
		return true
	}
	return false
}

// connectionFields are the further ones that Connection names.
func connectionFields(h http.Header) (fields []string) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = trimOWS(name); isToken(name) {
				fields = append(fields, http.CanonicalHeaderKey(name))
			}
		}
	}
	return fields
}

// first1 is the first line of a field, or nothing.
func first1(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}
