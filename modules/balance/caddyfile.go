// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy consistent_hash [client_ip | header <name> | cookie <name> | query <name> | uri | <placeholder...>] {
//		fallback       <policy> [<args...>] [{ ... }]
//		weight         <upstream> <weight>
//		balance_factor <factor>|off
//		hot_keys       off
//		hot_keys {
//			share     <share>
//			half_life <duration>
//			above     <requests>
//		}
//		health [<uri>] [{ ... }]
//	}
//
// The option weight may be repeated. Without a key, it is client_ip. For health, see parseHealth.
func (p *ConsistentHash) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the policy's name
	source := place(d)
	if err := p.parseKey(d); err != nil {
		return err
	}
	err := directive.Block(d, directive.Options{
		"fallback":       func() error { return directive.Guest(d, policyNamespace, "policy", &p.FallbackRaw) },
		"weight":         func() error { return parseWeightOption(d, &p.Weights) },
		"balance_factor": func() error { return p.parseFactor(d) },
		"hot_keys":       func() error { return p.parseHotKeys(d) },
		"health":         func() error { return parseHealth(d, &p.Health) },
	}, "weight")
	if len(p.Weights) > 0 {
		p.Source = source
	}
	return err
}

// place is where the dispenser stands, as errors have it.
func place(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

func (p *ConsistentHash) parseKey(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return nil
	}
	switch source := d.Val(); {
	case strings.Contains(source, "{"):
		p.Key = keyPlaceholder
		p.Placeholders = append([]string{source}, d.RemainingArgs()...)
		return nil
	case source == keyHeader || source == keyCookie || source == keyQuery:
		p.Key = source
		return directive.Arg(d, &p.Name, directive.Word)
	case source == keyClientIP || source == keyURI:
		p.Key = source
		return directive.End(d)
	default:
		return d.Errf("unknown key %q; expected client_ip, header <name>, cookie <name>, query <name>, uri or a placeholder", source)
	}
}

// parseWeightOption parses `weight <upstream> <weight>`. Whether there is such an upstream is known in Provision only.
func parseWeightOption(d *caddyfile.Dispenser, weights *map[string]float64) error {
	var address string
	var weight float64
	if d.CountRemainingArgs() != 2 {
		return d.Err("weight: expected an upstream's address and its weight")
	}
	d.NextArg()
	if err := directive.Value(d, "weight", &address, directive.Word); err != nil {
		return err
	}
	d.NextArg()
	if err := directive.Value(d, "weight", &weight, parseWeight); err != nil {
		return err
	}
	if _, twice := (*weights)[address]; twice {
		return d.Errf("weight: upstream %q is given twice", address)
	}
	if *weights == nil {
		*weights = map[string]float64{}
	}
	(*weights)[address] = weight
	return nil
}

func (p *ConsistentHash) parseFactor(d *caddyfile.Dispenser) error {
	return directive.Arg(d, &p.BalanceFactor, func(s string) (float64, error) {
		if s == "off" {
			p.Unbounded = true
			return 0, nil
		}
		factor, err := directive.Number(1, maxBalanceFactor)(s)
		if err != nil {
			err = fmt.Errorf("%w (or off)", err)
		}
		return factor, err
	})
}

func (p *ConsistentHash) parseHotKeys(d *caddyfile.Dispenser) error {
	p.HotKeys = new(HotKeys)
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("hot_keys: expected off or a block, found %q", d.Val())
		}
		p.HotKeys.Off = true
		if err := directive.End(d); err != nil {
			return err
		}
		return directive.NoBlock(d)
	}
	hot := p.HotKeys
	return directive.Block(d, directive.Options{
		"share":     func() error { return directive.Arg(d, &hot.Share, directive.Number(smallestShare, largestShare)) },
		"half_life": func() error { return directive.Arg(d, &hot.HalfLife, parseHalfLife) },
		"above":     func() error { return directive.Arg(d, &hot.Above, directive.Integer(1, highestAbove)) },
	})
}

func parseHalfLife(s string) (caddy.Duration, error) {
	v, err := directive.Duration(s)
	if err == nil && v < shortestHalfLife {
		err = fmt.Errorf("expected at least 1s, found %q", s)
	}
	return v, err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*ConsistentHash)(nil)
