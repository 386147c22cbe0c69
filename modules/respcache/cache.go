// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sweepInterval is how often the store is searched for what can never be used again, and sweepDelay how long after a purge
	// that is done.
	sweepInterval = time.Minute
	sweepDelay    = time.Second
	// lockStripes is how many keys may be published at once.
	lockStripes = 64
)

// cache is what all handlers with one store share. It outlives configs.
type cache struct {
	store       OpenStore
	memory      memory
	generations generations
	searches    searchRules
	passes      passes
	unranged    passes // keys whose origin gives the whole where a part was asked for
	fills       fillTable
	refreshing  atomic.Int64 // background refreshes that run

	seed    maphash.Seed
	publish [lockStripes]sync.Mutex // by key: one read and replacement of a resource at a time

	mu      sync.Mutex
	configs []*config // that are provisioned and not cleaned up, the oldest first
	current *config   // whose limits are in force
	arena   int64     // bytes that are reserved
	// positions are how far purge feeds have been followed, by module: what is purged during a reload is caught up with.
	positions map[string]string

	sweeps chan struct{}
	stop   context.CancelFunc
	ended  chan struct{}
}

// config is the part of a configuration that concerns the whole cache.
type config struct {
	budget, inFlight int64
	queries          []queryPolicy // of the sites
}

func newCache(open Opener, budget int64) (*cache, error) {
	store, err := open.Open(budget)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cache{
		store: store, seed: maphash.MakeSeed(), sweeps: make(chan struct{}, 1), stop: cancel, ended: make(chan struct{}),
	}
	c.fills.flights, c.fills.others = map[flight]*fill{}, map[*fill]struct{}{}
	c.enforce(&config{budget: budget, inFlight: budget / 4}) // requests may come before the config has started
	go c.sweepLoop(ctx)
	return c, nil
}

func (c *cache) setPosition(feed, position string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.positions == nil {
		c.positions = map[string]string{}
	}
	c.positions[feed] = position
}

// Destruct implements caddy.Destructor.
func (c *cache) Destruct() error {
	c.stop()
	<-c.ended
	err := c.store.Close()
	c.memory.arena.close()
	return err
}

// adopt puts a configuration's limits in force.
func (c *cache) adopt(cfg *config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.configs, cfg) {
		c.configs = append(c.configs, cfg)
	}
	c.enforce(cfg)
}

// drop ends a configuration. The newest of those that are left holds, if this one did: it was rejected after its start.
func (c *cache) drop(cfg *config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.configs = slices.DeleteFunc(c.configs, func(other *config) bool { return other == cfg })
	if c.current == cfg && len(c.configs) > 0 {
		c.enforce(c.configs[len(c.configs)-1])
	}
}

// enforce applies limits. The caller holds mu.
func (c *cache) enforce(cfg *config) {
	c.current = cfg
	c.memory.limit.Store(cfg.inFlight)
	// What is evicted while it is being sent, and the rest of slabs that are in part used, take room beside the budget.
	if need := cfg.budget + cfg.budget/4 + cfg.inFlight; need > c.arena {
		c.memory.arena.reserve(need - c.arena)
		c.arena = need
	}
	c.store.Resize(cfg.budget)
}

// queryPolicies are those of the sites of the configuration in force, each once.
func (c *cache) queryPolicies() []queryPolicy {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return nil
	}
	return slices.Clone(c.current.queries)
}

// lookup finds a stored answer for a request and takes a reference to it, or tells why there is none.
func (c *cache) lookup(q *query) (o *object, soft bool, fwd string) {
	value, ok := c.store.Get(q.key)
	if !ok {
		q.unknown = true
		return nil, false, fwdURIMiss
	}
	r, ok := value.(*resource)
	if !ok || r.key != q.key { // stores compare hashes; a key of another client must not pass for this one
		return nil, false, fwdURIMiss
	}
	if o, fwd = r.find(q); o == nil {
		return nil, false, fwd
	}
	dead, soft := c.generations.state(o)
	if dead {
		o.release()
		return nil, false, fwdURIMiss
	}
	return o, soft, ""
}

// objects are what is stored under a key. The caller holds none of them.
func (c *cache) objects(key string) []*object {
	if value, ok := c.store.Get(key); ok {
		if r, ok := value.(*resource); ok && r.key == key {
			return r.objects
		}
	}
	return nil
}

// names are the fields that the newest answer of a key varies on, to tell apart requests that need not wait for one another.
func (c *cache) names(key string) []varyField {
	if objects := c.objects(key); len(objects) > 0 {
		return objects[0].vary
	}
	return nil
}

// sharesOfAKey is how many bodies of the largest size the variants of one key may take together.
const sharesOfAKey = 4

// put stores the object of a fill beside the other variants of its key, and reports whether it is kept. variants bounds their
// number, and limit is the largest body.
func (c *cache) put(f *fill, o *object, variants int, limit int64) (kept bool, reason string) {
	if o.partial() && variants > 1 { // before the lock: it copies bodies
		if joined := c.combine(o, c.objects(o.key), limit); joined != nil {
			defer joined.release()
			o = joined
		}
	}
	lock := &c.publish[maphash.String(c.seed, o.key)%lockStripes]
	lock.Lock()
	defer lock.Unlock()
	if dead, _ := c.generations.state(o); dead || f.invalid.Load() {
		return false, reasonPurged
	}
	var old *resource
	if value, ok := c.store.Get(o.key); ok {
		if r, ok := value.(*resource); ok && r.key == o.key {
			old = r
		}
	}
	if o.partial() && variants < 2 || old != nil && !c.mayStand(o, old.objects) {
		return false, reasonNotWhole
	}
	r := newResource(o.key, old.with(o, variants, sharesOfAKey*limit))
	if !c.store.Put(o.key, r) {
		return false, reasonNoRoom
	}
	o.body.published()
	return true, ""
}

// invalidate removes what is stored under a key, and keeps fills that run from storing what they get, save one.
func (c *cache) invalidate(key string, save *fill) {
	c.fills.invalidate(key, save)
	lock := &c.publish[maphash.String(c.seed, key)%lockStripes]
	lock.Lock()
	defer lock.Unlock()
	c.store.Delete(key)
}

// discard removes one stored answer, unless another has taken its place, and leaves the other variants of its key.
func (c *cache) discard(o *object) {
	lock := &c.publish[maphash.String(c.seed, o.key)%lockStripes]
	lock.Lock()
	defer lock.Unlock()
	objects := c.objects(o.key)
	at := slices.Index(objects, o)
	switch {
	case at < 0:
	case len(objects) == 1:
		c.store.Delete(o.key)
	default:
		r := newResource(o.key, slices.Delete(slices.Clone(objects), at, at+1))
		c.store.Put(r.key, r) // whose key is in the memory of an object that is left
	}
}

func (c *cache) sweepSoon() {
	select {
	case c.sweeps <- struct{}{}:
	default:
	}
}

// sweepLoop reclaims memory in the background.
func (c *cache) sweepLoop(ctx context.Context) {
	defer close(c.ended)
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-c.sweeps:
			select { // purges come in bursts
			case <-ctx.Done():
				return
			case <-time.After(sweepDelay):
			}
		}
		c.sweep()
	}
}

// sweep removes resources all of whose objects are dead, or stale beyond use.
func (c *cache) sweep() {
	begun := time.Now()
	var keys []string
	softly := map[string]bool{}
	c.store.Walk(func(v Value) bool {
		r, ok := v.(*resource)
		if !ok {
			return true
		}
		usable := false
		for _, o := range r.objects {
			if dead, _ := c.generations.state(o); dead || o.useless(begun) {
				continue
			}
			usable = true
			if c.generations.rules.Load() > 0 {
				c.generations.concern(o, softly)
			}
		}
		if !usable {
			keys = append(keys, r.key)
		}
		return true
	})
	for _, key := range keys {
		c.reclaim(key, begun)
	}
	c.generations.tidy(begun, softly)
}

// reclaim deletes a key, unless it has been filled anew.
func (c *cache) reclaim(key string, now time.Time) {
	lock := &c.publish[maphash.String(c.seed, key)%lockStripes]
	lock.Lock()
	defer lock.Unlock()
	value, ok := c.store.Get(key)
	if !ok {
		return
	}
	if r, ok := value.(*resource); ok && r.key == key {
		for _, o := range r.objects {
			if dead, _ := c.generations.state(o); !dead && !o.useless(now) {
				return
			}
		}
	}
	c.store.Delete(key)
}

// keepValidatable is how long an answer with a validator is kept after it cannot be used without asking any more.
const keepValidatable = 24 * time.Hour

// useless reports whether an object can neither be used nor be validated.
func (o *object) useless(now time.Time) bool {
	expired := o.age(now) - o.lifetime - max(o.staleWhile, o.staleIfError, o.whileDown)
	if o.header.get("Etag") != "" || o.header.get("Last-Modified") != "" {
		expired -= keepValidatable
	}
	return expired > 0
}
