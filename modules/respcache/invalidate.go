// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"net/url"
)

// invalidates reports whether a request that was answered with the status makes stored answers of its URI invalid: an
// unsafe or unknown method and no error, RFC 9111 section 4.4 and RFC 9110 section 9.2.1.
func invalidates(method string, status int) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return false
	}
	return status >= 200 && status < 400
}

// alsoInvalidated are the URIs in Location and Content-Location that an unsafe request makes invalid too: only those of the
// same origin, or one application could empty another's part of the cache (RFC 9111 section 4.4).
func alsoInvalidated(target *url.URL, h http.Header) (uris []*url.URL) {
	for _, name := range [...]string{"Location", "Content-Location"} {
		value := first1(h[name])
		if value == "" {
			continue
		}
		u, err := target.Parse(value)
		if err != nil || u.Scheme != target.Scheme || canonicalHost(u.Host, u.Scheme) != canonicalHost(target.Host, target.Scheme) {
			continue
		}
		uris = append(uris, u)
	}
	return uris
}
