// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("request_limit", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		limit := new(Handler)
		return limit, limit.UnmarshalCaddyfile(h.Dispenser)
	})
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	request_limit [<matcher>] <limit> <period> [{ <options> }]
//	request_limit [<matcher>] [<policy>] {
//		key            <text>
//		ipv6_prefix    <bits>
//		window         <limit> [<period>]
//		algorithm      sliding|exact|smooth|gcra|concurrency
//		buckets        <n>
//		burst          <n>
//		cost           <n|expression>
//		count_denied
//		charge_on      <status|class...>
//		allow          <address|cidr...>
//		limits         <placeholder> [<table>] { ... }
//		status         <code>
//		dry_run
//		headers        standard|legacy|all|none
//		ban            after <n> in <duration> for <duration> [escalate x<factor> <longest>] [forget <duration>]
//		store          <name> [<args...>]
//		on_store_error local|open|closed
//	}
//
// Concurrency has windows without a period.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		if err := h.parseArguments(d); err != nil {
			return err
		}
	}
	if err := directive.End(d); err != nil {
		return err
	}
	if err := directive.Block(d, h.options(d), "window", "allow", "charge_on"); err != nil {
		return err
	}
	if err := h.check(); err != nil {
		return d.Errf("request_limit: %v", err)
	}
	return nil
}

// parseArguments reads a limit and a period, or the policy's name.
func (h *Handler) parseArguments(d *caddyfile.Dispenser) error {
	if _, err := strconv.Atoi(d.Val()); err != nil {
		return directive.Value(d, "policy", &h.Name, policyName)
	}
	return h.parseWindow(d)
}

// parseWindow reads a limit, on which d stands, and a period if there is one.
func (h *Handler) parseWindow(d *caddyfile.Dispenser) error {
	limit, period := d.Val(), ""
	if d.NextArg() {
		period = d.Val()
	}
	w, err := parseWindow(limit, period)
	if err != nil {
		return d.Errf("window: %v", err)
	}
	h.Windows = append(h.Windows, w)
	return directive.End(d)
}

func (h *Handler) options(d *caddyfile.Dispenser) directive.Options {
	return directive.Options{
		"key":         func() error { return directive.Arg(d, &h.Key, directive.Word) },
		"ipv6_prefix": func() error { return directive.Arg(d, &h.IPv6Prefix, directive.Integer(32, 128)) },
		"window": func() error {
			if !d.NextArg() {
				return d.Errf("window: expected a limit and a period")
			}
			return h.parseWindow(d)
		},
		"algorithm": func() error {
			return directive.Arg(d, &h.Algorithm, directive.OneOf(Sliding, Exact, Smooth, GCRA, Concurrency))
		},
		"buckets":        func() error { return directive.Arg(d, &h.Buckets, directive.Integer(1, window.MaxBuckets)) },
		"burst":          func() error { return directive.Arg(d, &h.Burst, count) },
		"cost":           func() error { return directive.Arg(d, &h.Cost, costText) },
		"count_denied":   func() error { return directive.Flag(d, &h.CountDenied) },
		"charge_on":      func() error { return directive.Args(d, &h.ChargeOn, charge) },
		"allow":          func() error { return directive.Args(d, &h.Allow, prefixText) },
		"limits":         func() error { return h.parseLimits(d) },
		"status":         func() error { return directive.Arg(d, &h.Status, directive.Integer(400, 599)) },
		"dry_run":        func() error { return directive.Flag(d, &h.DryRun) },
		"headers":        func() error { return directive.Arg(d, &h.Headers, headersWord) },
		"ban":            func() error { h.Ban = new(ipban.Rule); return h.Ban.UnmarshalCaddyfile(d) },
		"store":          func() error { return directive.Guest(d, Namespace, "store", &h.StoreRaw) },
		"on_store_error": func() error { return directive.Arg(d, &h.OnStoreError, storeErrorWord) },
	}
}

// parseLimits reads a table of limits. Syntax:
//
//	limits <placeholder> [<table of the store>] {
//		refresh <duration>
//		<entry> <limit> <period>
//		<entry> unlimited
//	}
//
// An entry that is given several times has several windows.
func (h *Handler) parseLimits(d *caddyfile.Dispenser) error {
	l := &Limits{}
	h.Limits = l
	if !d.NextArg() {
		return d.Errf("limits: expected a placeholder that names the entry")
	}
	l.By = d.Val()
	if d.NextArg() {
		if err := directive.Value(d, "limits", &l.Table, policyName); err != nil {
			return err
		}
	}
	if err := directive.End(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		if d.Val() == "refresh" {
			err = directive.Arg(d, &l.Refresh, directive.PositiveDuration)
		} else {
			err = l.parseEntry(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseEntry reads one entry of a table.
func (l *Limits) parseEntry(d *caddyfile.Dispenser) error {
	name, args := d.Val(), d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Errf("limits: %s: expected a limit and a period, or %s", name, unlimited)
	}
	windows, known := l.Classes[name]
	if known && (len(windows) == 0 || args[0] == unlimited) {
		return d.Errf("limits: %s is %s and has a limit", name, unlimited)
	}
	if l.Classes == nil {
		l.Classes = map[string][]Window{}
	}
	if args[0] == unlimited && len(args) == 1 {
		l.Classes[name] = []Window{}
		return nil
	}
	w, err := parseWindow(args[0], append(args, "")[1])
	if err != nil {
		return d.Errf("limits: %s: %v", name, err)
	}
	l.Classes[name] = append(windows, w)
	return nil
}

// count accepts a whole number of at least one.
func count(s string) (int64, error) {
	n, err := directive.Integer(1, math.MaxInt)(s)
	return int64(n), err
}

// costText accepts what newCost does, and keeps it as it was written.
func costText(s string) (string, error) {
	_, err := newCost(s)
	return s, err
}

// charge accepts a status such as 401 or a class of them such as 4xx.
func charge(s string) (int, error) {
	if len(s) == 3 && s[1:] == "xx" && s[0] >= '2' && s[0] <= '5' {
		return int(s[0] - '0'), nil
	}
	return directive.Integer(200, 599)(s)
}

// prefixText accepts what directive.Prefix does, and keeps it as it was written.
func prefixText(s string) (string, error) {
	_, err := directive.Prefix(s)
	return s, err
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
