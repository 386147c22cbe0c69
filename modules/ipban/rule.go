// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

const (
	// maxAfter bounds the strikes that a rule waits for: each that counts is kept with its time.
	maxAfter = 10_000
	// maxFactor bounds the escalation; ten bans at four times the last are a million times the first.
	maxFactor = 1000
	// defaultForget is how long past bans are remembered where bans escalate.
	defaultForget = caddy.Duration(7 * 24 * time.Hour)
)

// Rule says when a client that misbehaves is banned, and how long: the option `ban` of request_limit, and what follows the
// statuses of `strike_on` in ip_ban.
type Rule struct {
	// After is how many strikes within In ban the client, from 1 to 10,000. Required.
	After int `json:"after,omitempty"`
	// In is how long a strike counts. No client is banned that had fewer than After strikes in a period of this length.
	// Required.
	In caddy.Duration `json:"in,omitempty"`
	// For is how long the ban lasts; where bans escalate, the first one. At least a millisecond. Required.
	For caddy.Duration `json:"for,omitempty"`
	// Escalate is how many times longer each further ban of a client is than For times the last factor: with 4, bans
	// last 1, 4, 16, ... times For. From 1 to 1,000. Default (and zero): every ban lasts For.
	Escalate float64 `json:"escalate,omitempty"`
	// Longest is what bans that escalate last at most. Required with Escalate, and meaningless without.
	Longest caddy.Duration `json:"longest,omitempty"`
	// Forget is how long after its end a ban still counts as an earlier one. Default (and zero): 7 days, if Escalate is
	// given; without, it is meaningless.
	Forget caddy.Duration `json:"forget,omitempty"`
}

// check says what is wrong with the rule.
func (r *Rule) check() error {
	switch {
	case r.After < 1 || r.After > maxAfter:
		return fmt.Errorf("after: expected a whole number from 1 to %d, found %d", maxAfter, r.After)
	case r.In <= 0:
		return errors.New("after ... in: expected a duration above zero")
	case time.Duration(r.For) < time.Millisecond:
		return errors.New("for: expected a duration of at least 1ms")
	case r.Escalate == 0 && r.Longest != 0, r.Escalate == 0 && r.Forget != 0:
		return errors.New("forget and the longest ban mean nothing without escalate")
	case r.Escalate == 0:
		return nil
	case !(r.Escalate >= 1 && r.Escalate <= maxFactor): // the negation catches NaN too
		return fmt.Errorf("escalate: expected a factor from 1 to %d, found %g", maxFactor, r.Escalate)
	case r.Longest < r.For:
		return fmt.Errorf("escalate: the longest ban, %s, is shorter than the first, %s",
			time.Duration(r.Longest), time.Duration(r.For))
	case r.Forget < 0:
		return errors.New("forget: expected a duration above zero")
	}
	return nil
}

// lasts is how long the ban of a client lasts that had so many bans before.
func (r *Rule) lasts(before int) time.Duration {
	if r.Escalate == 0 {
		return time.Duration(r.For)
	}
	grown := float64(r.For) * math.Pow(r.Escalate, float64(before)) // what is too great for a Duration is still a number here
	if grown >= float64(r.Longest) {
		return time.Duration(r.Longest)
	}
	return time.Duration(grown)
}

// remembers is how long a ban by this rule counts after its end; zero if not at all.
func (r *Rule) remembers() time.Duration {
	if r.Escalate == 0 {
		return 0
	}
	return time.Duration(cmp.Or(r.Forget, defaultForget))
}

// reason is why the rule bans, for people.
func (r *Rule) reason() string {
	if r.After == 1 {
		return "1 strike"
	}
	return fmt.Sprintf("%d strikes in %s", r.After, time.Duration(r.In))
}

// String is the rule as it stands in a Caddyfile, so that equal rules have equal texts.
func (r *Rule) String() string {
	text := fmt.Sprintf("after %d in %s for %s", r.After, time.Duration(r.In), time.Duration(r.For))
	if r.Escalate != 0 {
		text += fmt.Sprintf(" escalate x%g %s forget %s", r.Escalate, time.Duration(r.Longest), r.remembers())
	}
	return text
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. The dispenser stands on the option's name. Syntax, on one line or
// with a clause a line in a block:
//
//	ban after <n> in <duration> for <duration> [escalate x<factor> <longest>] [forget <duration>]
func (r *Rule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	option := d.Val()
	if d.NextArg() {
		return r.line(d, option)
	}
	return r.block(d, option)
}

// block parses the clauses in a block.
func (r *Rule) block(d *caddyfile.Dispenser, option string) error {
	if err := directive.Block(d, r.clauses(d, directive.End)); err != nil {
		return err
	}
	return r.complete(d, option)
}

// line parses the clauses on one line, on the first of which the dispenser stands.
func (r *Rule) line(d *caddyfile.Dispenser, option string) error {
	clauses, seen := r.clauses(d, nil), map[string]bool{}
	for more := true; more; more = d.NextArg() {
		name := d.Val()
		parse, ok := clauses[name]
		if !ok {
			return d.Errf("%s: unexpected %q; expected one of: after, escalate, for, forget", option, name)
		}
		if seen[name] {
			return d.Errf("%s: %q is given twice", option, name)
		}
		seen[name] = true
		if err := parse(); err != nil {
			return err
		}
	}
	if err := directive.NoBlock(d); err != nil {
		return err
	}
	return r.complete(d, option)
}

// clauses parse what a rule is made of; end is called after each, unless it is nil.
func (r *Rule) clauses(d *caddyfile.Dispenser, end func(*caddyfile.Dispenser) error) directive.Options {
	ended := func(err error) error {
		if err != nil || end == nil {
			return err
		}
		return end(d)
	}
	return directive.Options{
		"after": func() error { return ended(r.parseAfter(d)) },
		"for":   func() error { return ended(clauseValue(d, "for", &r.For, directive.PositiveDuration)) },
		"escalate": func() error {
			if err := clauseValue(d, "escalate", &r.Escalate, factor); err != nil {
				return err
			}
			return ended(clauseValue(d, "escalate x"+fmt.Sprint(r.Escalate), &r.Longest, directive.PositiveDuration))
		},
		"forget": func() error { return ended(clauseValue(d, "forget", &r.Forget, directive.PositiveDuration)) },
	}
}

// parseAfter parses `after <n> in <duration>`.
func (r *Rule) parseAfter(d *caddyfile.Dispenser) error {
	if err := clauseValue(d, "after", &r.After, directive.Integer(1, maxAfter)); err != nil {
		return err
	}
	var in string
	if err := clauseValue(d, "after", &in, directive.OneOf("in")); err != nil {
		return err
	}
	return clauseValue(d, "after ... in", &r.In, directive.PositiveDuration)
}

// complete checks what the clauses make together.
func (r *Rule) complete(d *caddyfile.Dispenser, option string) error {
	if r.After == 0 || r.For == 0 {
		return d.Errf("%s: expected both of after and for, as in: after 3 in 10m for 1h", option)
	}
	if err := r.check(); err != nil {
		return d.Errf("%s: %v", option, err)
	}
	return nil
}

// clauseValue parses the next value on the line.
func clauseValue[T any](d *caddyfile.Dispenser, clause string, dst *T, parse func(string) (T, error)) error {
	if !d.NextArg() {
		return d.Errf("%s: expected a value", clause)
	}
	return directive.Value(d, clause, dst, parse)
}

// factor accepts a factor such as x4 or x1.5.
func factor(s string) (float64, error) {
	number, ok := strings.CutPrefix(s, "x")
	if !ok {
		return 0, fmt.Errorf("expected a factor such as x4, found %q", s)
	}
	return directive.Number(1, maxFactor)(number)
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Rule)(nil)
