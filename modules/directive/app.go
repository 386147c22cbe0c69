// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package directive

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// App registers a global option that makes the app of the same name. Given twice it is an error, as the last one would win
// without a word; once says what there is only one of, such as "a process has one scheduler". It panics if the option exists.
func App(name, once string, app func() caddyfile.Unmarshaler) {
	httpcaddyfile.RegisterGlobalOption(name, func(d *caddyfile.Dispenser, existing any) (any, error) {
		if existing != nil {
			d.Next() // for the line
			return nil, d.Errf("%s is given twice; %s", name, once)
		}
		a := app()
		if err := a.UnmarshalCaddyfile(d); err != nil {
			return nil, err
		}
		return httpcaddyfile.App{Name: name, Value: caddyconfig.JSON(a, nil)}, nil
	})
}
