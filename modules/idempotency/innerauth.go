// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// warnOfInnerAuthentication finds authentication in a `handle` or `route` behind this handler: a replay would go around it.
// While a handler is provisioned, Caddy still holds its whole site as JSON.
func (h *Handler) warnOfInnerAuthentication(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil {
		return
	}
	for _, route := range server.Routes {
		for _, raw := range route.HandlersRaw {
			var site any
			if json.Unmarshal(raw, &site) == nil && authenticatesBehind(site, new(bool)) {
				h.logger.Warn("authentication stands in a handle or route block behind idempotency_key, so a replayed answer goes " +
					"around it; put idempotency_key into that block, after the authentication")
				return
			}
		}
	}
}

// authenticatesBehind walks a config in the order that a request meets it, and reports whether authentication comes after an
// idempotency_key.
func authenticatesBehind(node any, behind *bool) bool {
	switch v := node.(type) {
	case []any:
		for _, element := range v {
			if authenticatesBehind(element, behind) {
				return true
			}
		}
	case map[string]any:
		switch v["handler"] {
		case "idempotency_key":
			*behind = true
		case "authentication":
			return *behind
		}
		// A block's own handlers do not stand before those of its neighbours.
		inner := *behind
		for _, name := range []string{"handle", "routes"} {
			if authenticatesBehind(v[name], &inner) {
				return true
			}
		}
		if v["handler"] == nil { // one of several handlers of a route, whose order counts
			*behind = inner
		}
	}
	return false
}
