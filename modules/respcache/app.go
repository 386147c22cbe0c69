// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

const (
	defaultBudget   = 256 << 20
	minBudget       = 1 << 20
	maxBudget       = 1 << 40 // address space is reserved for it
	defaultVariants = 16
	defaultStore    = "ristretto"
	// objectShare is the part of the budget that one body may take by default: a store that has to evict many answers for a large
	// one, and may then refuse it, loses them for nothing.
	objectShare = 64
	// A broken feed is followed again after minRetry, doubling up to maxRetry: that is how long, at most, purges of other proxies are
	// not heard of once the feed is back.
	minRetry = 100 * time.Millisecond
	maxRetry = time.Second
	// sendTimeout bounds how long a purge waits until other proxies will hear of it.
	sendTimeout = 5 * time.Second
	// stopTimeout bounds how long a config that ends waits for its feed.
	stopTimeout = 10 * time.Second
)

// caches holds the cache of each store of every config that is being provisioned, running or stopping: a reload, also a
// rejected one, keeps what is stored.
var caches = caddy.NewUsagePool()

func init() { caddy.RegisterModule(new(App)) }

// App is what all response_cache handlers of a config share. A config that uses response_cache and does not configure the app
// has one with the defaults.
type App struct {
	// FeedRaw is how purges reach other proxies, and theirs this one: a module of the namespace gatehouse.purge_feeds.
	// Default: redis if a default Redis client is configured, else none.
	FeedRaw json.RawMessage `json:"purge_feed,omitempty" caddy:"namespace=gatehouse.purge_feeds inline_key=feed"`
	// FeedOff keeps purges to this process although a default Redis client is configured. Default: false.
	FeedOff bool `json:"purge_feed_off,omitempty"`

	ctx    caddy.Context
	feed   Feed
	logger *zap.Logger
	stop   context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	stores map[string]*sharedStore // by their key in the pool
}

// sharedStore is one store as the handlers of one config see it.
type sharedStore struct {
	cache  *cache
	lease  lease.Lease
	config config
	given  bool // a handler gave a budget
	// inFlight is the most that a handler gave.
	inFlight int64
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "response_caches", New: func() caddy.Module { return new(App) }}
}

// Provision implements caddy.Provisioner.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger, a.stores = ctx, ctx.Logger(), map[string]*sharedStore{}
	if err := meter.Register(ctx.GetMetricsRegistry(), counters().all()...); err != nil {
		return err
	}
	return a.loadFeed(ctx)
}

// loadFeed loads the feed that is configured, or the one that a default Redis client makes the default.
func (a *App) loadFeed(ctx caddy.Context) error {
	if a.FeedRaw != nil && a.FeedOff {
		return errors.New("response_caches: purge_feed and purge_feed_off exclude one another")
	}
	if a.FeedOff {
		return nil
	}
	var guest any
	var err error
	if a.FeedRaw != nil {
		guest, err = ctx.LoadModule(a, "FeedRaw")
	} else {
		guest, err = defaultFeed(ctx)
	}
	if err != nil {
		return fmt.Errorf("response_caches: loading the purge feed: %w", err)
	}
	if guest == nil {
		return nil
	}
	feed, ok := guest.(Feed)
	if !ok {
		return fmt.Errorf("response_caches: module %T of namespace %s is no purge feed", guest, FeedNamespace)
	}
	a.feed = feed
	return nil
}

func defaultFeed(ctx caddy.Context) (any, error) {
	app, err := ctx.AppIfConfigured(backend.App)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if clients, ok := app.(backend.Clients); !ok || !clients.HasDefault() {
		return nil, nil
	}
	id := FeedNamespace + ".redis"
	if _, err := caddy.GetModule(id); err != nil {
		return nil, fmt.Errorf("the default feed %s is not in this build, which has: %s", id, directive.Compiled(FeedNamespace))
	}
	return ctx.LoadModuleByID(id, nil)
}

// use gives a handler the cache of its store, and takes in what the handler says about it. It is called while the config is
// provisioned.
func (a *App) use(h *Handler, opener Opener, raw json.RawMessage) (*cache, error) {
	key, err := storeKey(opener, raw)
	if err != nil {
		return nil, err
	}
	budget := cmp.Or(h.Budget, defaultBudget)
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stores[key]
	if s == nil {
		s = new(sharedStore)
		s.cache, s.lease, err = lease.Take(caches, key, func() (*cache, error) { return newCache(opener, budget) })
		if err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
		s.config.budget = budget
		a.stores[key] = s
	}
	if h.Budget != 0 {
		if s.given && s.config.budget != h.Budget {
			return nil, fmt.Errorf("budget: %d bytes here and %d bytes on another site; sites that share a store give the same budget, or none",
				h.Budget, s.config.budget)
		}
		s.given, s.config.budget = true, h.Budget
	}
	s.inFlight = max(s.inFlight, h.InFlight)
	s.config.inFlight = cmp.Or(s.inFlight, s.config.budget/4) // of the budget that another site may give yet
	if !h.query.isZero() {
		s.config.queries = append(s.config.queries, h.query)
	}
	return s.cache, nil
}

// storeKey names a store by its module and its options, which may hold secrets and go in hashed.
func storeKey(opener Opener, raw json.RawMessage) (string, error) {
	module, ok := opener.(caddy.Module)
	if !ok {
		return "", fmt.Errorf("store %T is no Caddy module", opener)
	}
	options := map[string]json.RawMessage{}
	if raw != nil {
		if err := json.Unmarshal(raw, &options); err != nil {
			return "", fmt.Errorf("reading the options of the store: %w", err)
		}
		delete(options, "store")
	}
	canonical, err := json.Marshal(options)
	if err != nil {
		return "", fmt.Errorf("reading the options of the store: %w", err)
	}
	return fmt.Sprintf("%s %x", module.CaddyModule().ID, sha256.Sum256(canonical)), nil
}

// Start implements caddy.App: this config's limits hold from now on, and its feed is followed.
func (a *App) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.stores {
		s.cache.adopt(&s.config)
	}
	warnOfBypassedAuth(a.ctx, a.logger)
	if a.feed == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop, a.ended = cancel, make(chan struct{})
	go a.follow(ctx)
	return nil
}

// Stop implements caddy.App.
func (a *App) Stop() error {
	if a.stop == nil {
		return nil
	}
	a.stop()
	select {
	case <-a.ended:
	case <-time.After(stopTimeout):
		a.logger.Error("the purge feed did not stop", zap.Duration("waited", stopTimeout))
	}
	return nil
}

// Cleanup implements caddy.CleanerUpper. No request uses the caches for this config any more.
func (a *App) Cleanup() error {
	var errs []error
	for _, s := range a.stores {
		s.cache.drop(&s.config)
		errs = append(errs, s.lease.Release())
	}
	return errors.Join(errs...)
}

// all are the caches of this config.
func (a *App) all() []*cache {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*cache
	for _, s := range a.stores {
		all = append(all, s.cache)
	}
	return all
}

// purge carries purges out here, and sends them to other proxies. They hold here when it returns, also with an error.
func (a *App) purge(ctx context.Context, purges []Purge) error {
	for _, c := range a.all() {
		c.purge(purges...)
	}
	if a.feed == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := a.feed.Send(ctx, purges); err != nil {
		counters().feedErrors.Inc()
		return fmt.Errorf("purged here; other proxies have not heard of it: %w", err)
	}
	return nil
}

// position is how far the caches have been fed.
func (a *App) position(feed string) (position string) {
	for _, c := range a.all() {
		c.mu.Lock()
		position = cmp.Or(position, c.positions[feed])
		c.mu.Unlock()
	}
	return position
}

// follow keeps the feed going until ctx ends.
func (a *App) follow(ctx context.Context) {
	defer close(a.ended)
	name := string(a.feed.(caddy.Module).CaddyModule().ID)
	level := zap.WarnLevel
	for retry := minRetry; ctx.Err() == nil; retry = min(2*retry, maxRetry) {
		err := a.feed.Follow(ctx, a.position(name), func(purges []Purge, position string) {
			for _, c := range a.all() {
				c.purge(purges...)
				c.setPosition(name, position)
			}
			counters().feedUp.Set(1)
			retry, level = minRetry, zap.WarnLevel
		})
		if ctx.Err() != nil {
			return
		}
		counters().feedUp.Set(0)
		pause := retry/2 + rand.N(retry/2) // so that proxies that lost one feed do not all come back at once
		a.logger.Log(level, "following the purge feed failed; purges of other proxies are caught up with later",
			zap.Error(err), zap.Duration("retry_in", pause))
		level = zap.DebugLevel // until it was followed again
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
