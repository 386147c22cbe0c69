// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// keptFields are the response fields that are kept and replayed, by name or by prefix with a star: what describes the
// content, and what the operation made. The rest belongs to one exchange (Date, Server-Timing, RateLimit), to one
// connection (Keep-Alive), or to one client's session (Set-Cookie).
func keptFields() []string {
	return []string{"Content-*", "Location", "ETag", "Last-Modified", "Link", "Vary", "Accept-*", "Deprecation", "Sunset", "Preference-Applied"}
}

// neverKept are fields that no configuration keeps: replayed, they would hand one session's credentials to whoever
// retries, or break the connection that they meet.
func neverKept() []string {
	return []string{
		"Set-Cookie", "Set-Cookie2", "Www-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Proxy-Authentication-Info",
		"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Content-Length", // of the replay's own body
		"Date", "Alt-Svc", "Strict-Transport-Security", policyField,
	}
}

// fieldFilter decides which response fields are kept.
type fieldFilter struct {
	names    map[string]bool
	prefixes []string
}

// newFieldFilter adds the configured patterns to those that are always kept.
func newFieldFilter(patterns []string) (*fieldFilter, error) {
	f := &fieldFilter{names: map[string]bool{}}
	for _, pattern := range patterns {
		if err := checkPattern(pattern); err != nil {
			return nil, err
		}
	}
	for _, pattern := range append(keptFields(), patterns...) {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			f.prefixes = append(f.prefixes, http.CanonicalHeaderKey(prefix))
		} else {
			f.names[http.CanonicalHeaderKey(pattern)] = true
		}
	}
	return f, nil
}

func checkPattern(pattern string) error {
	name := strings.TrimSuffix(pattern, "*")
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("expected a header field's name, or its beginning with a star, found %q", pattern)
	}
	if slices.Contains(neverKept(), http.CanonicalHeaderKey(pattern)) {
		return fmt.Errorf("%s is never replayed: it belongs to one session or one connection", http.CanonicalHeaderKey(pattern))
	}
	return nil
}

// keep returns the fields of a response that go into its record.
func (f *fieldFilter) keep(header http.Header) http.Header {
	kept := http.Header{}
	for name, values := range header {
		if f.keeps(name) {
			kept[name] = slices.Clone(values) // handlers in front may change in place what the first client gets
		}
	}
	for _, name := range neverKept() {
		delete(kept, name)
	}
	return kept
}

func (f *fieldFilter) keeps(name string) bool {
	return f.names[name] || slices.ContainsFunc(f.prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}
