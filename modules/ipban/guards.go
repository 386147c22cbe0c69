// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// guards knows which servers of a config refuse banned clients: what strikes on another one would be without effect.
type guards struct {
	servers sync.Map // of *caddyhttp.Server; as many entries as the config has servers
}

// add notes that a module of this package is provisioned on the server.
func (g *guards) add(server *caddyhttp.Server) { g.servers.Store(server, struct{}{}) }

// guard reports whether something on the server refuses banned clients. It is asked while the server is being provisioned:
// what was provisioned before is known, and what comes later stands in the config still, as Caddy drops that of a route when
// all of the route is loaded.
func (g *guards) guard(server *caddyhttp.Server) bool {
	if _, known := g.servers.Load(server); known {
		return true
	}
	for _, route := range server.Routes { // the outer routes' matchers are provisioned first, without their server
		if slices.ContainsFunc(route.MatcherSets, looksUp) {
			g.add(server)
			return true
		}
	}
	routes, err := json.Marshal([]any{server.Routes, server.NamedRoutes})
	var tree any
	if err != nil || json.Unmarshal(routes, &tree) != nil || !mentions(tree) {
		return false
	}
	g.add(server)
	return true
}

// looksUp reports whether the matcher ip_ban is in the set.
func looksUp(set caddyhttp.MatcherSet) bool {
	return slices.ContainsFunc(set, func(matcher any) bool {
		switch matcher := matcher.(type) {
		case *Matcher:
			return true
		case *caddyhttp.MatchNot:
			return slices.ContainsFunc(matcher.MatcherSets, looksUp)
		}
		return false
	})
}

// mentions reports whether a config in JSON has the handler or the matcher ip_ban.
func mentions(node any) bool {
	switch node := node.(type) {
	case []any:
		for _, item := range node {
			if mentions(item) {
				return true
			}
		}
	case map[string]any:
		if node["handler"] == "ip_ban" {
			return true
		}
		for key, item := range node {
			if key == "ip_ban" || mentions(item) {
				return true
			}
		}
	}
	return false
}
