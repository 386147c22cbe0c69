// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ready

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// defaultPath is what `ready` answers without a matcher: answering every request would take the site away.
const defaultPath = "/ready"

func init() {
	httpcaddyfile.RegisterDirective("ready", parseDirective)
}

// parseDirective reads the directive. Syntax:
//
//	ready [<matcher>]
//
// Default matcher: the path /ready.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	match, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next() // ExtractMatcherSet rewinds
	if err := directive.End(h.Dispenser); err != nil {
		return nil, err
	}
	if err := directive.NoBlock(h.Dispenser); err != nil {
		return nil, err
	}
	if match == nil {
		match = caddy.ModuleMap{"path": caddyconfig.JSON(caddyhttp.MatchPath{defaultPath}, nil)}
	}
	return h.NewRoute(match, new(Handler)), nil
}
