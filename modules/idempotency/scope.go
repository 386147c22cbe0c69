// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
)

// What becomes of clients that show no identity.
const (
	anonymousShared = "shared"
	anonymousIP     = "ip"
	anonymousReject = "reject"
)

var errAnonymous = errors.New("the request carries no identity that its idempotency key could be bound to")

// identity is who a key belongs to: two requests with one key meet only if their identities are equal. Kind keeps identities
// of different origin apart, so that nobody becomes another client by sending a header that reads like its name.
type identity struct{ kind, value string }

// identify finds the identity: who was authenticated, else what the client proves itself with, else what the
// configuration names, else as anonymous says.
func (h *Handler) identify(r *http.Request) (identity, error) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if user, ok := repl.GetString("http.auth.user.id"); ok && user != "" {
		return identity{"user", user}, nil
	}
	if values := r.Header["Authorization"]; len(values) > 0 {
		return identity{"authorization", strings.Join(values, "\x00")}, nil
	}
	for _, name := range h.apiKeys {
		if values := r.Header[name]; len(values) > 0 {
			return identity{"api_key " + name, strings.Join(values, "\x00")}, nil
		}
	}
	if value, ok := h.expandScope(repl); ok {
		return identity{"scope", value}, nil
	}
	switch h.Anonymous {
	case anonymousReject:
		return identity{}, errAnonymous
	case anonymousIP:
		addr, _ := clientaddr.Of(r) // on a Unix socket there is none: all such clients are one
		return identity{"ip", addr.String()}, nil
	}
	return identity{"shared", ""}, nil
}

// expandScope expands the configured placeholders; ok is false if all of them are empty.
func (h *Handler) expandScope(repl *caddy.Replacer) (value string, ok bool) {
	var parts strings.Builder
	for _, template := range h.Scope {
		part := repl.ReplaceAll(template, "")
		ok = ok || part != ""
		parts.WriteString(part)
		parts.WriteByte(0)
	}
	return parts.String(), ok
}
