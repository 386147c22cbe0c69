// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"strconv"
	"time"
)

// cacheName identifies this cache in Cache-Status, RFC 9211 section 2.
const cacheName = "Gatehouse"

// Reasons to forward a request, RFC 9211 section 2.2.
const (
	fwdBypass   = "bypass"
	fwdMethod   = "method"
	fwdURIMiss  = "uri-miss"
	fwdVaryMiss = "vary-miss"
	fwdPartial  = "partial"
	fwdRequest  = "request"
	fwdStale    = "stale"
)

// cacheStatus is what Cache-Status tells about one answer, RFC 9211.
type cacheStatus struct {
	hit       bool
	fwd       string
	fwdStatus int
	ttl       time.Duration
	hasTTL    bool
	stored    bool
	collapsed bool
	key       string
	detail    string // a token, or any text
}

// String is the member of the list, RFC 9211 section 2.
func (s *cacheStatus) String() string {
	var room [256]byte // on the stack, for nearly all
	b := append(room[:0], cacheName...)
	if s.hit {
		b = append(b, "; hit"...)
	}
	if s.fwd != "" {
		b = append(append(b, "; fwd="...), s.fwd...)
	}
	if s.fwdStatus != 0 {
		b = strconv.AppendInt(append(b, "; fwd-status="...), int64(s.fwdStatus), 10)
	}
	if s.hasTTL {
		b = strconv.AppendInt(append(b, "; ttl="...), int64(s.ttl/time.Second), 10)
	}
	if s.stored {
		b = append(b, "; stored"...)
	}
	if s.collapsed {
		b = append(b, "; collapsed"...)
	}
	if s.key != "" {
		b = appendString(append(b, "; key="...), s.key)
	}
	if s.detail != "" {
		b = append(b, "; detail="...)
		if isDetailToken(s.detail) {
			b = append(b, s.detail...)
		} else {
			b = appendString(b, s.detail)
		}
	}
	return string(b)
}

// appendString appends a structured string, RFC 9651 section 3.3.3. What it cannot hold is percent-encoded.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f:
			const digits = "0123456789ABCDEF"
			b = append(b, '%', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// isDetailToken reports whether s can stand as a structured token, RFC 9651 section 3.3.4.
func isDetailToken(s string) bool {
	return s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z' || s[0] == '*') && isToken(s)
}
