// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package adminapi is how modules answer on the admin endpoint: JSON, and errors whose text is for whoever asked. The other
// side, which commands use, is package adminclient.
package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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

// Methods answers a request with what its method's function returns, as JSON. Other methods get what Allow says of them.
type Methods map[string]func(r *http.Request) (any, error)

// ServeHTTP implements caddy.AdminHandler.
func (m Methods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if err := Allow(w, r, slices.Collect(maps.Keys(m))...); err != nil {
		return err
	}
	answer, err := m[r.Method](r)
	if err != nil {
		return err
	}
	return Answer(w, answer)
}

// Read decodes the request's body, one JSON value with no member that v does not have, into v. A body of more than limit
// bytes is refused with 413, any other fault with 400.
func Read(r *http.Request, limit int64, v any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, limit))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(v)
	if err == nil {
		switch _, err = decoder.Token(); {
		case errors.Is(err, io.EOF):
			return nil
		case err == nil:
			err = errors.New("something follows the JSON value")
		}
	}
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return Refuse(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", tooLong.Limit)
	}
	return Refuse(http.StatusBadRequest, "reading the body: %w", err)
}

// Interface guard
var _ caddy.AdminHandler = Methods(nil)
