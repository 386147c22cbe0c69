// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package redis is the `redis` app: named Redis clients that every Redis-backed store of Gatehouse shares. A client batches
// the commands of concurrent requests, and a circuit breaker with one background prober keeps a dead or stalled Redis from
// costing a request anything. Nothing dials before the first command.
package redis

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// DefaultName is the name of the client that is configured without one.
const DefaultName = "default"

// clients holds every client of every config that is being provisioned, running or stopping, by its whole configuration.
// A reload that does not change a client's configuration keeps its connections and the state of its breaker.
var clients = caddy.NewUsagePool()

func init() {
	caddy.RegisterModule(App{})
}

// App is the `redis` app. It keeps Redis clients by name. An unreachable server is no error: a proxy starts, reloads and runs
// without Redis, and each capability says what it does meanwhile.
//
// Placeholders of the process ({env.*}, {file.*}, {system.*}) are expanded in every text value when the config is loaded;
// one that is unknown or empty is an error.
type App struct {
	// Clients maps each client's name to its configuration. The name `default` is the client that stores use when they
	// name none, and its presence makes Redis their default. Names consist of letters, digits, `_`, `-` and `.`.
	Clients map[string]*ClientConfig `json:"clients,omitempty"`

	held map[string]*holding
	ctx  caddy.Context
}

// holding is a client with this app's reference to it.
type holding struct {
	client *Client
	lease  lease.Lease
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.App, New: func() caddy.Module { return new(App) }}
}

// Provision resolves the configuration and takes the clients. It dials nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.held = make(map[string]*holding, len(a.Clients))
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	for _, name := range slices.Sorted(maps.Keys(a.Clients)) {
		config := a.Clients[name]
		if config == nil {
			config = new(ClientConfig)
		}
		s, err := config.resolve(name, repl)
		if err != nil {
			return fmt.Errorf("redis client %q: %w", name, err)
		}
		client, l, err := lease.Take(clients, s.key(), func() (*Client, error) { return newClient(s, ctx.Logger()), nil })
		if err != nil {
			return fmt.Errorf("redis client %q: %w", name, err)
		}
		a.held[name] = &holding{client, l}
	}
	return nil
}

// Start makes this config's clients the ones that Lookup finds.
func (a *App) Start() error {
	next := newest() + 1
	for _, h := range a.held {
		h.client.publish(next, a.ctx.Logger())
	}
	return nil
}

// Stop does nothing: requests of this config may still be running, so their clients live until Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup gives the clients back. Those that no other config uses are closed.
func (a *App) Cleanup() error {
	var errs []error
	for name, h := range a.held {
		if err := h.lease.Release(); err != nil {
			errs = append(errs, fmt.Errorf("closing redis client %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// HasDefault reports whether a client without a name is configured.
func (a *App) HasDefault() bool {
	_, ok := a.Clients[DefaultName]
	return ok
}

// Client returns the client of that name; the empty name means the default one. It lives until the config that asked is
// cleaned up.
func (a *App) Client(name string) (*Client, error) {
	if name == "" {
		name = DefaultName
	}
	if h, ok := a.held[name]; ok {
		return h.client, nil
	}
	if len(a.held) == 0 {
		return nil, fmt.Errorf("no redis client %q: no client is configured; add the global option `redis`", name)
	}
	return nil, fmt.Errorf("no redis client %q; configured are: %s", name,
		strings.Join(slices.Sorted(maps.Keys(a.held)), ", "))
}

// Lookup finds the client of the running config by name, for users that cannot ask the app, as log writers are provisioned
// before apps exist. A client may be closed by a later reload: look it up for each piece of work and keep none.
func Lookup(name string) (*Client, bool) {
	client, ok := running()[name]
	return client, ok
}

// running returns the clients of the running config. While two configs overlap, the one that was started last wins; a
// config that was rejected was never started, or its clients are gone already.
func running() map[string]*Client {
	found := map[string]*Client{}
	clients.Range(func(_, value any) bool {
		c, ok := value.(*Client)
		if !ok || c.started.Load() == 0 {
			return true
		}
		if other, ok := found[c.settings.Name]; !ok || other.started.Load() < c.started.Load() {
			found[c.settings.Name] = c
		}
		return true
	})
	return found
}

// newest returns the number of the config that was started last, as far as clients of it still live.
func newest() int64 {
	var n int64
	clients.Range(func(_, value any) bool {
		if c, ok := value.(*Client); ok {
			n = max(n, c.started.Load())
		}
		return true
	})
	return n
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
	_ backend.Clients    = (*App)(nil)
)
