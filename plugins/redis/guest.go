// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// parseGuest reads the first line of what uses a client, `<name> [<client>]`. The option names it in errors, such as
// "store redis".
func parseGuest(d *caddyfile.Dispenser, option string, client *string) error {
	d.Next() // the guest's name
	if d.NextArg() {
		if err := directive.Value(d, option, client, directive.Word); err != nil {
			return err
		}
	}
	return directive.End(d)
}

// clientFor returns the client of that name for a guest, which errors name. It dials nothing.
func clientFor(ctx caddy.Context, name, guest string) (*Client, error) {
	app, err := ctx.App(backend.App)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", guest, err)
	}
	client, err := app.(*App).Client(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", guest, err)
	}
	return client, nil
}
