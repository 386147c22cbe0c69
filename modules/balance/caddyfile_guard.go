// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/json"
	"slices"

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
	source, err := p.Outliers.policy(d, &p.Weights, directive.Options{
		"policy": func() error { return p.parsePolicy(d) },
	})
	if len(p.Weights) > 0 {
		p.Source = source
	}
	return err
}

// parsePolicy parses the guarded policy. Those that eject upstreams themselves are turned away here, where the line is known,
// and in Provision.
func (p *Guard) parsePolicy(d *caddyfile.Dispenser) error {
	if err := directive.Guest(d, policyNamespace, "policy", &p.InnerRaw); err != nil {
		return err
	}
	var inner link
	if err := json.Unmarshal(p.InnerRaw, &inner); err != nil {
		return d.Errf("policy: %v", err)
	}
	if slices.Contains([]string{leastResponseTime, leastBandwidth, guard}, inner.Policy) {
		return d.Errf("policy: %s ejects upstreams itself, and takes no guard", inner.Policy)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Guard)(nil)
