// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() { caddy.RegisterModule(Matcher{}) }

// Matcher matches requests of clients that the handler of the same name would refuse: those that a ban covers, save the
// allow-list. With dry_run of the app it matches none. It sets the handler's placeholders and access-log field.
type Matcher struct {
	gate *gate
}

// CaddyModule returns the Caddy module information.
func (Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.ip_ban", New: func() caddy.Module { return new(Matcher) }}
}

// Provision implements caddy.Provisioner.
func (m *Matcher) Provision(ctx caddy.Context) error {
	var err error
	m.gate, err = newGate(ctx, "matcher")
	return err
}

// Cleanup implements caddy.CleanerUpper.
func (m *Matcher) Cleanup() error { return m.gate.release() }

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *Matcher) MatchWithError(r *http.Request) (bool, error) {
	outcome, _ := m.gate.decide(r, false)
	return outcome == banned, nil
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*Matcher)(nil)
	_ caddy.CleanerUpper                = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
)
