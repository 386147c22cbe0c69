// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() {
	directive.App("collector", "a process has one garbage collector", func() caddyfile.Unmarshaler { return new(App) })
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax, as a global option:
//
//	collector {
//		headroom <size>
//		percent <n>
//		memory_limit <size>
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"headroom":     func() error { return directive.Arg(d, &a.Headroom, directive.Size) },
		"percent":      func() error { return directive.Arg(d, &a.Percent, directive.Integer(leastPercent, mostPercent)) },
		"memory_limit": func() error { return directive.Arg(d, &a.MemoryLimit, directive.Size) },
	})
}
