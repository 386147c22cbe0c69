// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// policy parses the line and the block of a policy that knows outliers: options of its own, weight, and those of o. It returns
// where the policy stands. Options that are named may be repeated, as weight may.
func (o *Outliers) policy(d *caddyfile.Dispenser, weights *map[string]float64, own directive.Options, repeated ...string) (source string, err error) {
	d.Next() // the policy's name
	source = place(d)
	if err := directive.End(d); err != nil {
		return source, err
	}
	own["weight"] = func() error { return parseWeightOption(d, weights) }
	maps.Copy(own, o.options(d))
	return source, directive.Block(d, own, append(repeated, "weight")...)
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy least_response_time {
//		measure headers|body
//		memory  <duration>
//		band    <ratio>|off
//		explore <share>|off
//		weight  <upstream> <weight>
//		zone    <upstreams...>
//		failure_status <statuses...>
//		eject   off
//		eject {
//			after       <failures>|off
//			ratio       <ratio>|off
//			max_ejected <share>
//			panic       <share>|off
//		}
//		probe {
//			copies    on|off
//			request   <uri>|off
//			first     <duration>
//			longest   <duration>
//			successes <number>
//		}
//		ramp    <duration>|off
//		health  [<uri>] [{ ... }]
//	}
//
// The options weight and zone may be repeated; the nearest zone comes first. For health, see parseHealth.
func (p *LeastResponseTime) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	source, err := p.Outliers.policy(d, &p.Weights, directive.Options{
		"measure": func() error { return directive.Arg(d, &p.Measure, directive.OneOf(measureHeaders, measureBody)) },
		"memory":  func() error { return directive.Arg(d, &p.Memory, durationFrom(shortestMemory, longestMemory)) },
		"band":    func() error { return directive.Arg(d, &p.Band, orOff(directive.Number(smallestRatio, widestBand))) },
		"explore": func() error { return directive.Arg(d, &p.Explore, orOff(parseShare(leastExplore, greatestExplore))) },
		"zone":    func() error { return parseZone(d, &p.Zones) },
	}, "zone")
	if len(p.Weights)+len(p.Zones) > 0 {
		p.Source = source
	}
	return err
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy least_bandwidth {
//		memory <duration>
//		weight <upstream> <weight>
//		failure_status <statuses...>
//		eject  off|{ ... }
//		probe  { ... }
//		ramp   <duration>|off
//		health [<uri>] [{ ... }]
//	}
//
// The last five are those of least_response_time. The option weight may be repeated.
func (p *LeastBandwidth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	source, err := p.Outliers.policy(d, &p.Weights, directive.Options{
		"memory": func() error { return directive.Arg(d, &p.Memory, durationFrom(shortestMemory, longestMemory)) },
	})
	if len(p.Weights) > 0 {
		p.Source = source
	}
	return err
}

// parseZone parses the upstreams of one zone. Whether there are such upstreams is known in Provision only.
func parseZone(d *caddyfile.Dispenser, zones *[][]string) error {
	var zone []string
	if err := directive.Args(d, &zone, directive.Word); err != nil {
		return err
	}
	*zones = append(*zones, zone)
	return nil
}

// options returns the options that all policies share which eject.
func (o *Outliers) options(d *caddyfile.Dispenser) directive.Options {
	return directive.Options{
		"failure_status": func() error { return directive.Args(d, &o.FailureStatus, parseFailureStatus) },
		"eject":          func() error { return o.parseEject(d) },
		"probe":          func() error { return o.parseProbe(d) },
		"health":         func() error { return parseHealth(d, &o.Health) },
		"ramp":           func() error { return directive.Arg(d, &o.Ramp, orOff(durationFrom(1, longestRamp))) },
	}
}

func (o *Outliers) parseEject(d *caddyfile.Dispenser) error {
	e := new(Ejection)
	o.Eject = e
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("eject: expected off or a block, found %q", d.Val())
		}
		e.Off = true
		if err := directive.End(d); err != nil {
			return err
		}
		return directive.NoBlock(d)
	}
	share := parseShare(smallestRatio, 1)
	return directive.Block(d, directive.Options{
		"after":       func() error { return directive.Arg(d, &e.After, orOff(directive.Integer(1, mostFailures))) },
		"ratio":       func() error { return directive.Arg(d, &e.Ratio, orOff(share)) },
		"max_ejected": func() error { return directive.Arg(d, &e.MaxEjected, share) },
		"panic":       func() error { return directive.Arg(d, &e.Panic, orOff(share)) },
	})
}

func (o *Outliers) parseProbe(d *caddyfile.Dispenser) error {
	p := new(Probing)
	o.Probe = p
	if err := directive.End(d); err != nil {
		return err
	}
	err := directive.Block(d, directive.Options{
		"copies": func() error {
			var copies string
			err := directive.Arg(d, &copies, directive.OneOf("on", "off"))
			p.NoCopies = copies == "off"
			return err
		},
		"request":   func() error { return directive.Arg(d, &p.Request, directive.Word) },
		"first":     func() error { return directive.Arg(d, &p.First, durationFrom(shortestProbe, longestProbe)) },
		"longest":   func() error { return directive.Arg(d, &p.Longest, durationFrom(shortestProbe, longestProbe)) },
		"successes": func() error { return directive.Arg(d, &p.Successes, directive.Integer(1, mostSuccesses)) },
	})
	if err != nil {
		return err
	}
	if err := p.apply(new(estimator.Params)); err != nil { // the values may not go together
		return d.Errf("probe: %v", err)
	}
	return nil
}

// parseFailureStatus accepts a status such as 503 or a class such as 5xx.
func parseFailureStatus(s string) (int, error) {
	digits, isClass := strings.CutSuffix(s, "xx")
	status, err := strconv.Atoi(digits)
	if err != nil || isClass != (status < 100) || checkStatus(status) != nil {
		return 0, fmt.Errorf("expected a status such as 503 or a class such as 5xx, found %q", s)
	}
	return status, nil
}

// durationFrom accepts a duration from low to high.
func durationFrom(low, high caddy.Duration) func(string) (caddy.Duration, error) {
	return func(s string) (caddy.Duration, error) {
		v, err := directive.PositiveDuration(s)
		if err == nil && (v < low || v > high) {
			err = fmt.Errorf("expected a duration from %s to %s, found %q", time.Duration(low), time.Duration(high), s)
		}
		return v, err
	}
}

// orOff accepts what parse does, and off.
func orOff[T ~int | ~int64 | ~float64](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		if s == "off" {
			return estimator.Off, nil
		}
		v, err := parse(s)
		if err != nil {
			err = fmt.Errorf("%w (or off)", err)
		}
		return v, err
	}
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*LeastResponseTime)(nil)
	_ caddyfile.Unmarshaler = (*LeastBandwidth)(nil)
)
