// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gaissmai/bart"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

const (
	defaultMaxBans    = 1_000_000
	defaultIPv6Prefix = 64
	defaultMaxStrikes = 250_000
	// startTimeout is how long Start waits for the list, so that a proxy that starts has it in force if the store is well.
	// It waits no longer for one that fails than until it does.
	startTimeout = 2 * time.Second
)

func init() { caddy.RegisterModule(App{}) }

// App is the list of bans that every ip_ban handler and matcher of a config looks clients up in, and that the admin
// endpoint and other modules change. A config that uses ip_ban and does not configure the app has one with the defaults.
//
// Clients on the allow-list, on the loopback interface, and trusted proxies themselves are never banned: a ban of a wide
// prefix does not apply to those that it covers.
type App struct {
	// Allow is who is never banned: addresses and CIDRs. Default: nobody. The machine itself
	// (127.0.0.0/8, ::1) never is, listed or not.
	Allow []string `json:"allow,omitempty"`
	// StoreRaw is where the list is kept: a module of the namespace gatehouse.ban_stores. Default: redis if a default Redis
	// client is configured, else memory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=gatehouse.ban_stores inline_key=store"`
	// MaxBans is how many prefixes may be banned at once. Expired bans make room; when there is none, a further ban is
	// refused and counted, and those in force stay. A ban takes some 100 bytes here, and 300 more in the memory store.
	// Default (and zero): 1,000,000.
	MaxBans int `json:"max_bans,omitempty"`
	// IPv6Prefix is how much of an IPv6 address makes a client when a module bans an address: one customer is commonly
	// assigned a /64 (RFC 6177), in which it may change its address at will. Bans by the admin endpoint are of exactly
	// what they name. From 32 to 128; default (and zero): 64.
	IPv6Prefix int `json:"ipv6_prefix,omitempty"`
	// MaxStrikes is how many strikes that may yet become bans are held at once, of all clients. Where there is no room,
	// those of a client with few are dropped, and counted. A strike takes 8 bytes, and 150 more the first one of a client.
	// Default (and zero): 250,000.
	MaxStrikes int `json:"max_strikes,omitempty"`
	// DryRun decides, logs and counts, and lets everybody pass; the matcher ip_ban then matches nobody, and whom a rule
	// would ban is listed apart. Default: false.
	DryRun bool `json:"dry_run,omitempty"`

	allowed *bart.Lite
	store   Store
	list    *list
	lease   lease.Lease
	source  *source
	guards  *guards
	logger  *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_bans", New: func() caddy.Module { return new(App) }}
}

// Provision implements caddy.Provisioner. From here on the list answers: with what this process knew before, if anything.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.guards = new(guards)
	a.MaxBans = cmp.Or(a.MaxBans, defaultMaxBans)
	a.IPv6Prefix = cmp.Or(a.IPv6Prefix, defaultIPv6Prefix)
	a.MaxStrikes = cmp.Or(a.MaxStrikes, defaultMaxStrikes)
	allow := make([]netip.Prefix, len(a.Allow))
	for i, text := range a.Allow {
		prefix, err := directive.Prefix(text)
		if err != nil {
			return fmt.Errorf("ip_bans: allow: %w", err)
		}
		allow[i] = prefix
	}
	a.allowed = allowList(allow)
	if err := meter.Register(ctx.GetMetricsRegistry(), metrics().all()...); err != nil {
		return err
	}
	raw := a.StoreRaw // loading clears it
	store, err := backend.Load[Store](ctx, a, "StoreRaw", Namespace, raw)
	if err != nil {
		return fmt.Errorf("ip_bans: %w", err)
	}
	return a.take(store, raw)
}

// take gets hold of what this process knows of the store's list.
func (a *App) take(store Store, raw json.RawMessage) error {
	key, err := listKey(store, raw)
	if err != nil {
		return err
	}
	name := store.(caddy.Module).CaddyModule().ID.Name()
	a.store = store
	a.list, a.lease, err = lease.Take(lists, key, func() (*list, error) { return newList(name), nil })
	if err != nil {
		return fmt.Errorf("ip_bans: sharing the list of bans: %w", err)
	}
	return nil
}

// Validate implements caddy.Validator.
func (a *App) Validate() error {
	if a.MaxBans < 0 {
		return fmt.Errorf("ip_bans: max_bans: expected a whole number of at least 1, found %d", a.MaxBans)
	}
	if a.MaxStrikes < 0 {
		return fmt.Errorf("ip_bans: max_strikes: expected a whole number of at least 1, found %d", a.MaxStrikes)
	}
	if a.IPv6Prefix < 32 || a.IPv6Prefix > 128 {
		return fmt.Errorf("ip_bans: ipv6_prefix: expected a whole number from 32 to 128, found %d", a.IPv6Prefix)
	}
	return nil
}

// Start implements caddy.App: the list is fed from this config's store.
func (a *App) Start() error {
	a.source = &source{store: a.store, limit: a.MaxBans, logger: a.logger}
	a.list.attach(a.source)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if !a.list.begun(ctx) {
		a.logger.Warn("serving without the list of bans until the store delivers it")
	}
	return nil
}

// Stop implements caddy.App. Requests that are still being served go on to use the list as it is.
func (a *App) Stop() error {
	a.list.detach(a.source)
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (a *App) Cleanup() error { return a.lease.Release() }

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
