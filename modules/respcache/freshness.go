// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"strings"
	"time"
)

// response is what the rules read of an answer that came from upstream.
type response struct {
	status int
	header http.Header
	// requested and received are when the request was sent, and when the answer's header came.
	requested, received time.Time
}

// parseDate reads an HTTP-date in one of its three forms, RFC 9110 section 5.6.7. Anything else is no date.
func parseDate(s string) (time.Time, bool) {
	rest, gmt := s, false // names of days, months and the zone in any case: RFC 9111 section 4.2
	if n := len(s) - len(" GMT"); n > 0 && strings.EqualFold(s[n:], " GMT") {
		rest, gmt = s[:n], true
	}
	switch {
	case gmt && len(s) == len(http.TimeFormat) && s[3] == ',':
		t, err := time.Parse("Mon, 02 Jan 2006 15:04:05", rest)
		return t, err == nil
	case gmt:
		t, err := time.Parse("Monday, 02-Jan-06 15:04:05", rest)
		if err != nil {
			return t, false
		}
		// A two-digit year that appears to be more than 50 years ahead is the one of that ending in the past.
		if t.After(time.Now().AddDate(50, 0, 0)) {
			t = t.AddDate(-100, 0, 0)
		}
		return t, true
	case len(s) == len(time.ANSIC):
		t, err := time.Parse(time.ANSIC, s)
		return t, err == nil
	}
	return time.Time{}, false
}

// date is when the origin made the answer: its Date or, if that is missing or malformed, when it was received (RFC 9110
// section 6.6.1).
func (r response) date() time.Time {
	if lines := r.header["Date"]; len(lines) > 0 {
		if t, ok := parseDate(lines[0]); ok {
			return t
		}
	}
	return r.received
}

// initialAge is the answer's age when it was received: corrected_initial_age, RFC 9111 section 4.2.3. It is bounded, as lifetimes
// are, so that sums of them stay durations: some applications send dates of the year 1.
func (r response) initialAge() time.Duration {
	apparent := max(0, r.received.Sub(r.date()))
	corrected := ageValue(r.header["Age"]) + max(0, r.received.Sub(r.requested))
	return min(max(apparent, corrected), maxDelta)
}

// ageValue reads an Age field; of several values the first counts, and what is no number is ignored: RFC 9111 section 5.1.
func ageValue(lines []string) time.Duration {
	if len(lines) == 0 {
		return 0
	}
	value, _, _ := strings.Cut(lines[0], ",")
	v, _ := parseDelta(trimOWS(value))
	return v
}

// freshnessPolicy is what the configuration adds to the rules of freshness.
type freshnessPolicy struct {
	// heuristicMax bounds the heuristic lifetime; 0 switches heuristics off.
	heuristicMax time.Duration
	// defaultTTL holds for answers of heuristically cacheable statuses that say nothing; 0 switches it off.
	defaultTTL time.Duration
	// statusTTL holds for answers of a status that say nothing, before defaultTTL.
	statusTTL map[int]time.Duration
}

// heuristicShare is the part of the time since its last modification that an answer is taken to stay fresh, RFC 9111
// section 4.2.2.
const heuristicShare = 10

// heuristicStatus reports whether an answer of this status may be stored without being told so: RFC 9110 section 15.1.
func heuristicStatus(status int) bool {
	switch status {
	case 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// explicitLifetime is the freshness lifetime that the answer itself gives, RFC 9111 section 4.2.1, for a shared cache.
func (r response) explicitLifetime(d directives, targeted bool) (time.Duration, bool) {
	switch {
	case d.sMaxAge != absent:
		return d.sMaxAge, true
	case d.maxAge != absent:
		return d.maxAge, true
	case targeted: // RFC 9213 section 2.2: Expires is ignored
		return 0, false
	}
	lines := r.header["Expires"]
	if len(lines) == 0 {
		return 0, false
	}
	expires, ok := parseDate(lines[0])
	if !ok { // in particular "0": already expired, RFC 9111 section 5.3
		return 0, true
	}
	return min(max(0, expires.Sub(r.date())), maxDelta), true
}

// lifetime is how long the answer is fresh from its making on, RFC 9111 section 4.2.1. told is false if neither it nor
// the configuration says.
func (r response) lifetime(d directives, targeted bool, p freshnessPolicy) (lifetime time.Duration, told bool) {
	if v, ok := r.explicitLifetime(d, targeted); ok {
		return v, true
	}
	if v, ok := p.statusTTL[r.status]; ok {
		return v, true
	}
	if !heuristicStatus(r.status) && !d.public {
		return 0, false
	}
	if p.defaultTTL > 0 && heuristicStatus(r.status) {
		return p.defaultTTL, true
	}
	return r.heuristic(p.heuristicMax)
}

// heuristic is the lifetime of an answer that only tells when it was last modified, RFC 9111 section 4.2.2.
func (r response) heuristic(limit time.Duration) (time.Duration, bool) {
	lines := r.header["Last-Modified"]
	if len(lines) == 0 || limit <= 0 {
		return 0, false
	}
	modified, ok := parseDate(lines[0])
	if !ok {
		return 0, false
	}
	return min(max(0, r.date().Sub(modified)/heuristicShare), limit), true
}
