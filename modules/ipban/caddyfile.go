// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() {
	directive.App("ip_bans", "a config has one list of bans", func() caddyfile.Unmarshaler { return new(App) })
	httpcaddyfile.RegisterHandlerDirective("ip_ban", parseHandler)
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	ip_ban [<matcher>] {
//		status <code>
//		close
//		dry_run
//		strike_on <status...> after <n> in <duration> for <duration> [escalate x<factor> <longest>] [forget <duration>]
//		strike_on <status...> {
//			after <n> in <duration>
//			for <duration>
//			escalate x<factor> <longest>
//			forget <duration>
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"status":  func() error { return directive.Arg(d, &h.Status, directive.Integer(400, 599)) },
		"close":   func() error { return directive.Flag(d, &h.Close) },
		"dry_run": func() error { return directive.Flag(d, &h.DryRun) },
		"strike_on": func() error {
			var on StrikeOn
			err := on.UnmarshalCaddyfile(d)
			h.StrikeOn = append(h.StrikeOn, on)
			return err
		},
	}, "strike_on")
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax, as a global option:
//
//	ip_bans {
//		allow <address|cidr...>
//		store <name> [<args...>]
//		max_bans <n>
//		max_strikes <n>
//		ipv6_prefix <bits>
//		dry_run
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"allow":       func() error { return directive.Args(d, &a.Allow, prefixText) },
		"store":       func() error { return directive.Guest(d, Namespace, "store", &a.StoreRaw) },
		"max_bans":    func() error { return directive.Arg(d, &a.MaxBans, directive.Integer(1, math.MaxInt)) },
		"max_strikes": func() error { return directive.Arg(d, &a.MaxStrikes, directive.Integer(1, math.MaxInt)) },
		"ipv6_prefix": func() error { return directive.Arg(d, &a.IPv6Prefix, directive.Integer(32, 128)) },
		"dry_run":     func() error { return directive.Flag(d, &a.DryRun) },
	}, "allow")
}

// prefixText accepts what directive.Prefix does, and keeps it as it was written.
func prefixText(s string) (string, error) {
	_, err := directive.Prefix(s)
	return s, err
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax: `@name ip_ban`, or `ip_ban` in a block of matchers.
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if err := directive.End(d); err != nil {
			return err
		}
		if err := directive.NoBlock(d); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Matcher)(nil)
)
