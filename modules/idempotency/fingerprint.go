// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// fingerprintOf tells whether two requests with one key ask for the same: by method, host and URI as the client sent
// them, the type and coding of the content, and the body. The order of query parameters with different names does not count.
func (h *Handler) fingerprintOf(r *http.Request, body []byte) string {
	uri := r.URL
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		uri = original.URL
	}
	return h.keys.fingerprint(
		[]byte(r.Method),
		[]byte(strings.ToLower(r.Host)),
		[]byte(uri.EscapedPath()),
		[]byte(sortedQuery(uri.RawQuery)),
		[]byte(r.Header.Get("Content-Type")),
		[]byte(strings.Join(r.Header["Content-Encoding"], ",")),
		body,
	)
}

// sortedQuery sorts parameters by name, and leaves those of one name in their order, which may have a meaning.
func sortedQuery(raw string) string {
	if !strings.Contains(raw, "&") {
		return raw
	}
	parameters := strings.Split(raw, "&")
	slices.SortStableFunc(parameters, func(a, b string) int {
		nameA, _, _ := strings.Cut(a, "=")
		nameB, _, _ := strings.Cut(b, "=")
		return strings.Compare(nameA, nameB)
	})
	return strings.Join(parameters, "&")
}
