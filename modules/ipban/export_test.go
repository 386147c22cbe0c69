// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gaissmai/bart"
	"go.uber.org/zap"
)

// Running is the app of the running config.
func Running(t testing.TB) *App {
	t.Helper()
	app, err := caddy.ActiveContext().App("ip_bans")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App)
}

// AllowNobody empties the allow-list, this machine included: tests have no other address to connect from.
func AllowNobody(a *App) { a.allowed = new(bart.Lite) }

// ListenerOf is a listener wrapper that is provisioned with an app.
func ListenerOf(a *App, dry bool) *Listener {
	return &Listener{DryRun: dry, app: a, connections: outcomeCounters("listener"), logger: zap.NewNop()}
}
