// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// warnOfBypassedAuth warns of authentication that a request meets only after a cache, as it does in a `handle` or `route`
// block of a site with a cache: a hit goes around it.
func warnOfBypassedAuth(ctx caddy.Context, logger *zap.Logger) {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return // without it nothing is served
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		if _, bypassed := authAfterCache(server.Routes, false); bypassed {
			logger.Warn("authentication stands behind response_cache, whose hits go around it; put both into the same block",
				zap.String("server", name))
		}
	}
}

// authAfterCache walks routes in the order of requests. cached says that a cache comes before them, and after, that one has come
// by their end.
func authAfterCache(routes caddyhttp.RouteList, cached bool) (after, bypassed bool) {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			if sub, ok := handler.(*caddyhttp.Subroute); ok {
				inner, found := authAfterCache(sub.Routes, cached)
				bypassed = bypassed || found
				// What a site's own block holds does not come before other sites.
				cached = cached || inner && len(route.MatcherSets) == 0
				continue
			}
			if _, ok := handler.(*Handler); ok {
				cached = true
			}
			if module, ok := handler.(caddy.Module); ok && module.CaddyModule().ID == "http.handlers.authentication" {
				bypassed = bypassed || cached
			}
		}
	}
	return cached, bypassed
}
