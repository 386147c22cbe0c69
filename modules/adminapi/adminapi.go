// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package adminapi is how modules answer on the admin endpoint: JSON, and errors whose text is for whoever asked. The other
// side, which commands use, is package adminclient.
package adminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Refuse returns an error that answers with the HTTP status and the text, which Caddy wraps in {"error": ...}.
func Refuse(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// Allow returns nil if the request's method is one of those given, and else a 405 that names them, with the header Allow
// (RFC 9110 section 15.5.6).
func Allow(w http.ResponseWriter, r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) {
		return nil
	}
	list := strings.Join(slices.Sorted(slices.Values(methods)), ", ")
	w.Header().Set("Allow", list)
	return Refuse(http.StatusMethodNotAllowed, "method %s is not allowed here; allowed: %s", r.Method, list)
}

// Running returns nil if a config is running, and else a 503: the admin endpoint answers already while the first config is being
// started, and before there is one.
func Running() error {
	if caddy.ActiveContext().Context == nil {
		return Refuse(http.StatusServiceUnavailable, "no config is running yet")
	}
	return nil
}

// Answer writes v as JSON. Its error is that of writing, as of a client that left.
func Answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}
