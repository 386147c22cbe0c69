// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
)

// Modes of a LimitStore.
const (
	limitsAtomic = "atomic"
	limitsLease  = "lease"
)

const (
	defaultOvershoot = 0.05
	maxOvershoot     = 0.5
)

// limitPool holds what outlives a config: hubs, and the counters of policies that keep something here.
var limitPool = caddy.NewUsagePool()

func init() { caddy.RegisterModule(LimitStore{}) }

// LimitStore counts requests in Redis, for all proxies that use the same Redis and key prefix. Redis' clock decides, so
// proxies' clocks may differ. A decision is one script and one round trip, on keys that share a hash tag, as a cluster needs.
type LimitStore struct {
	// Client is the name of the client in the `redis` app. Default: the client without a name.
	Client string `json:"client,omitempty"`
	// Mode is atomic or lease. With atomic Redis decides on every request. With lease a proxy takes some of a key's limit at
	// once and spends it here, which is for rates beyond what one Redis can decide on: what it took counts from then on, and
	// what it has not spent half a second later is given back. Default: atomic.
	Mode string `json:"mode,omitempty"`
	// Overshoot is the share of a limit that all proxies together may hold in leases, above 0 and at most 0.5. What is
	// spent late may exceed the limit by this much. Default (and zero): 0.05.
	Overshoot float64 `json:"overshoot,omitempty"`

	client *Client
	leases []lease.Lease
}

// CaddyModule returns the Caddy module information.
func (LimitStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: reqlimit.Namespace + ".redis", New: func() caddy.Module { return new(LimitStore) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	store redis [<client>] {
//		mode      atomic|lease
//		overshoot <share>
//	}
func (s *LimitStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := parseGuest(d, "store redis", &s.Client); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"mode":      func() error { return directive.Arg(d, &s.Mode, directive.OneOf(limitsAtomic, limitsLease)) },
		"overshoot": func() error { return directive.Arg(d, &s.Overshoot, directive.Number(0.001, maxOvershoot)) },
	})
}

// Provision finds the client. It dials nothing.
func (s *LimitStore) Provision(ctx caddy.Context) error {
	if s.Mode == "" {
		s.Mode = limitsAtomic
	}
	if s.Overshoot != 0 && s.Mode != limitsLease {
		return errors.New("store redis: overshoot: only the mode lease has one")
	}
	if s.Overshoot == 0 {
		s.Overshoot = defaultOvershoot
	}
	if s.Mode != limitsAtomic && s.Mode != limitsLease {
		return fmt.Errorf("store redis: mode: expected atomic or lease, found %q", s.Mode)
	}
	if s.Overshoot < 0 || s.Overshoot > maxOvershoot {
		return fmt.Errorf("store redis: overshoot: expected a share above 0 and at most %g, found %g", maxOvershoot, s.Overshoot)
	}
	var err error
	s.client, err = clientFor(ctx, s.Client, "the store of limits")
	return err
}

// Cleanup implements caddy.CleanerUpper.
func (s *LimitStore) Cleanup() error {
	var errs []error
	for i := range s.leases {
		errs = append(errs, s.leases[i].Release())
	}
	return errors.Join(errs...)
}

// Open implements reqlimit.Store.
func (s *LimitStore) Open(spec reqlimit.Spec) (reqlimit.Counters, error) {
	spec.Limit = 0 // no part of what is kept here: a reload that changes a limit keeps it
	h, l, err := takeHub(s.client)
	if err != nil {
		return nil, err
	}
	s.leases = append(s.leases, l)
	if spec.Algorithm == reqlimit.Concurrency {
		if s.Mode == limitsLease {
			return nil, errors.New("store redis: mode lease: concurrency cannot be leased")
		}
		return takeTender(s, h, spec, func() tender { return newInflight(h, spec) })
	}
	counters, err := newLimitCounters(h, spec)
	if err != nil || s.Mode == limitsAtomic {
		return counters, err
	}
	if spec.Algorithm == reqlimit.Exact || spec.Always {
		return nil, errors.New("store redis: mode lease: neither the algorithm exact nor count_denied can be leased; use mode atomic")
	}
	return takeTender(s, h, spec, func() tender { return newLots(counters, s.Overshoot) })
}

// takeTender returns the counters of a policy that keep something in this process, making them if there are none.
func takeTender(s *LimitStore, h *hub, spec reqlimit.Spec, build func() tender) (reqlimit.Counters, error) {
	key := fmt.Sprintf("%s %s %g %+v", h.name, s.Mode, s.Overshoot, spec)
	t, l, err := lease.Take(limitPool, key, func() (*tended, error) { return h.tend(build()) })
	if err != nil {
		return nil, fmt.Errorf("sharing the counts of policy %s: %w", spec.Policy, err)
	}
	s.leases = append(s.leases, l)
	return t.tender, nil
}

// Limits implements reqlimit.Tables: a table is a hash.
func (s *LimitStore) Limits(ctx context.Context, table, entry string) (string, error) {
	cmd, err := s.client.Do(ctx, "HGET", s.client.Key("limits", table), entry)
	if errors.Is(err, goredis.Nil) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading limits: %w", err)
	}
	return cmd.Text()
}

// Interface guards
var (
	_ reqlimit.Store        = (*LimitStore)(nil)
	_ reqlimit.Tables       = (*LimitStore)(nil)
	_ caddy.Provisioner     = (*LimitStore)(nil)
	_ caddy.CleanerUpper    = (*LimitStore)(nil)
	_ caddyfile.Unmarshaler = (*LimitStore)(nil)
)
