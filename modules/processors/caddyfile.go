// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package processors

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() {
	directive.App("processors", "a process has one scheduler", func() caddyfile.Unmarshaler { return new(App) })
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax, as a global option:
//
//	processors [all | <least>]
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		if a.All = d.Val() == "all"; !a.All {
			if err := directive.Value(d, "processors: expected all, or how many at least", &a.Least, directive.Integer(1, mostLeast)); err != nil {
				return err
			}
		}
	}
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.NoBlock(d)
}
