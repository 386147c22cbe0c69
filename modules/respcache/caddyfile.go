// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"fmt"
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() {
	directive.App("response_caches", "a config has one set of caches", func() caddyfile.Unmarshaler { return new(App) })
	httpcaddyfile.RegisterHandlerDirective("response_cache", parseHandler)
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, sameBudget(h, handler)
}

// sameBudget refuses a second budget for one store where its line is still known.
func sameBudget(h httpcaddyfile.Helper, handler *Handler) error {
	if handler.Budget == 0 {
		return nil
	}
	type first struct {
		budget int64
		at     string
	}
	key := "response_cache " + string(handler.StoreRaw)
	before, known := h.State[key].(first)
	if known && before.budget != handler.Budget {
		return h.Errf("response_cache: the budget is %d bytes here and %d bytes at %s; sites that share a store give the same budget, or none",
			handler.Budget, before.budget, before.at)
	}
	h.State[key] = first{handler.Budget, fmt.Sprintf("%s:%d", h.File(), h.Line())}
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax, as a global option:
//
//	response_caches {
//		purge_feed <name> [<args...>] | off
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{"purge_feed": func() error {
		if d.CountRemainingArgs() == 1 {
			if d.NextArg(); d.Val() == "off" {
				a.FeedOff = true
				return directive.End(d)
			}
			d.Prev()
		}
		return directive.Guest(d, FeedNamespace, "feed", &a.FeedRaw)
	}})
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	response_cache [<matcher>] [<budget>] {
//		max_object <size>
//		in_flight <size>
//		variants <n>
//		store <name> [<args...>]
//		ttl [<status>...] <duration>
//		heuristic <duration>|off
//		grace <duration>
//		serve_stale <duration>|off
//		bypass <placeholder...>
//		key <text>
//		query {
//			ignore <name...>
//			only <name...>
//			sort
//		}
//		ignore_client_no_cache
//		store_posts
//		dry_run
//		name <name>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		if err := directive.Value(d, "budget", &h.Budget, budget); err != nil {
			return err
		}
	}
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"max_object":             func() error { return directive.Arg(d, &h.MaxObject, directive.Size) },
		"in_flight":              func() error { return directive.Arg(d, &h.InFlight, directive.Size) },
		"variants":               func() error { return directive.Arg(d, &h.Variants, directive.Integer(1, math.MaxInt)) },
		"store":                  func() error { return directive.Guest(d, StoreNamespace, "store", &h.StoreRaw) },
		"ttl":                    func() error { return h.unmarshalTTL(d) },
		"heuristic":              func() error { return directive.Arg(d, &h.HeuristicMax, durationOrOff) },
		"grace":                  func() error { return directive.Arg(d, &h.Grace, directive.PositiveDuration) },
		"serve_stale":            func() error { return directive.Arg(d, &h.ServeStale, durationOrOff) },
		"bypass":                 func() error { return directive.Args(d, &h.Bypass, directive.Word) },
		"key":                    func() error { return directive.Arg(d, &h.Key, directive.Word) },
		"query":                  func() error { return h.unmarshalQuery(d) },
		"ignore_client_no_cache": func() error { return directive.Flag(d, &h.IgnoreClientNoCache) },
		"store_posts":            func() error { return directive.Flag(d, &h.StorePosts) },
		"dry_run":                func() error { return directive.Flag(d, &h.DryRun) },
		"name":                   func() error { return directive.Arg(d, &h.Name, directive.Word) },
	}, "ttl", "bypass")
}

// budget accepts a size that is enough for a store.
func budget(s string) (int64, error) {
	v, err := directive.Size(s)
	if err == nil && v < minBudget {
		err = fmt.Errorf("expected at least 1MiB, found %q", s)
	}
	return v, err
}

// durationOrOff accepts a duration, or off.
func durationOrOff(s string) (caddy.Duration, error) {
	if s == "off" {
		return -1, nil
	}
	v, err := directive.PositiveDuration(s)
	if err != nil {
		err = fmt.Errorf("%w; or off", err)
	}
	return v, err
}

// unmarshalTTL reads the statuses, if any, and the duration that ends the line.
func (h *Handler) unmarshalTTL(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("ttl: expected a duration, or statuses and a duration")
	}
	ttl, err := directive.Duration(args[len(args)-1])
	if err != nil {
		return d.Errf("ttl: %v", err)
	}
	if len(args) == 1 {
		if h.DefaultTTL != 0 {
			return d.Err("ttl without a status is given twice")
		}
		h.DefaultTTL = ttl
		return nil
	}
	if h.StatusTTL == nil {
		h.StatusTTL = map[int]caddy.Duration{}
	}
	for _, arg := range args[:len(args)-1] {
		status, err := strconv.Atoi(arg)
		if err != nil || status < 200 || status > 599 || status == 206 || status == 304 {
			return d.Errf("ttl: expected a status from 200 to 599 other than 206 and 304, found %q", arg)
		}
		if _, twice := h.StatusTTL[status]; twice {
			return d.Errf("ttl: status %d is given twice", status)
		}
		h.StatusTTL[status] = ttl
	}
	return nil
}

func (h *Handler) unmarshalQuery(d *caddyfile.Dispenser) error {
	if err := directive.End(d); err != nil {
		return err
	}
	h.Query = new(Query)
	err := directive.Block(d, directive.Options{
		"ignore": func() error { return directive.Args(d, &h.Query.Ignore, directive.Word) },
		"only":   func() error { return directive.Args(d, &h.Query.Only, directive.Word) },
		"sort":   func() error { return directive.Flag(d, &h.Query.Sort) },
	}, "ignore", "only")
	if err == nil && len(h.Query.Ignore)+len(h.Query.Only) == 0 && !h.Query.Sort {
		err = d.Err("query: expected a block with one of ignore, only, sort")
	}
	return err
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*App)(nil)
)
