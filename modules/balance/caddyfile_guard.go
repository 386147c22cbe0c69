// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"maps"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy guard {
//		policy <policy> [<args...>] [{ ... }]
//		weight <upstream> <weight>
//		failure_status <statuses...>
//		eject  off|{ ... }
//		probe  { ... }
//		ramp   <duration>|off
//		health [<uri>] [{ ... }]
//	}
//
// The last five are those of least_response_time. The option weight may be repeated. Without a policy, it is least_conn.
func (p *Guard) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the policy's name
	source := place(d)
	if err := directive.End(d); err != nil {
		return err
	}
	options := directive.Options{
		"policy": func() error { return directive.Guest(d, policyNamespace, "policy", &p.InnerRaw) },
		"weight": func() error { return parseWeightOption(d, &p.Weights) },
	}
	maps.Copy(options, p.Outliers.options(d))
	err := directive.Block(d, options, "weight")
	if len(p.Weights) > 0 {
		p.Source = source
	}
	return err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Guard)(nil)
