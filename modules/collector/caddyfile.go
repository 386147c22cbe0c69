// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("collector", parseApp)
}

func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // for the line
		return nil, d.Err("collector is given twice; a process has one garbage collector")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "collector", Value: caddyconfig.JSON(app, nil)}, nil
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
