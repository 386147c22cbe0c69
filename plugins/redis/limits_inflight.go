// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

const (
	// inflightLife is how long a proxy's count lasts unless it is renewed: so long do the requests of a proxy that died count.
	inflightLife = 15 * time.Second
	// inflightRenewal is how often that is done.
	inflightRenewal = 5 * time.Second
)

var (
	//go:embed limits_inflight.lua
	inflightSource string
	inflightScript = NewScript(inflightSource)
)

// inflight counts requests in flight in Redis, each proxy's in a field of its own. What of them is this proxy's is known here,
// too, and told anew every inflightRenewal: it corrects what a command that failed left wrong.
type inflight struct {
	hub     *hub
	policy  string
	prefix  string
	mu      sync.Mutex // guards the rest
	held    map[string]places
	moves   uint64
	changed map[string]struct{} // to be told anew, also if nothing is held
	renewed time.Time
}

func newInflight(h *hub, spec reqlimit.Spec) *inflight {
	return &inflight{
		hub: h, policy: spec.Policy, prefix: h.client.Key("limit", "{"),
		held: map[string]places{}, changed: map[string]struct{}{}, renewed: time.Now(),
	}
}

// places is how many are held here of a key.
type places struct {
	count int64
	move  uint64 // which of all changes was the last
	told  uint64 // how often the count was told
}

// key is the hash of a key's counts.
func (f *inflight) key(ask *reqlimit.Ask) string {
	sum := sha256.Sum256(append([]byte(f.policy+"\x00"+reqlimit.Concurrency+"\x00"), ask.Key...))
	return f.prefix + base64.RawURLEncoding.EncodeToString(sum[:16]) + "}"
}

// hold changes what is held here, and returns how often it was told before.
func (f *inflight) hold(key string, by int64) (told uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moves++
	was := f.held[key]
	if count := was.count + by; count > 0 {
		f.held[key] = places{count, f.moves, was.told}
	} else {
		delete(f.held, key)
	}
	return was.told
}

func (f *inflight) run(ctx context.Context, key, op string, cost, limit int64) ([]int64, error) {
	cmd, err := f.hub.client.Run(ctx, inflightScript, []string{key}, op, f.hub.id, cost, limit, inflightLife.Milliseconds())
	if err != nil {
		f.change(key)
		return nil, fmt.Errorf("counting in redis: %w", err)
	}
	reply, err := cmd.Int64Slice()
	if err != nil || len(reply) != 2 {
		return nil, fmt.Errorf("counting in redis: an unexpected answer, %v (%w)", cmd.Val(), err)
	}
	return reply, nil
}

// Take implements reqlimit.Counters. It counts here first: what is told anew meanwhile is then too high rather than too low.
func (f *inflight) Take(ctx context.Context, ask *reqlimit.Ask, result *window.Result) error {
	f.hub.begin()
	key, limit := f.key(ask), ask.Rule.Windows[0].Limit
	told := f.hold(key, ask.Cost)
	reply, err := f.run(ctx, key, "take", ask.Cost, limit)
	if f.holds(key).told != told { // it was told with what Redis may have added only then
		f.change(key)
	}
	if err != nil {
		f.hold(key, -ask.Cost)
		return err
	}
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	result.States[0] = window.State{Remaining: max(reply[1]-ask.Cost, 0)}
	if reply[0] < 0 {
		f.hold(key, -ask.Cost)
		result.States[0].Remaining = reply[1]
		result.Refuse(0, reqlimit.ConcurrencyRetry(ask.Cost, limit))
	}
	return nil
}

// Give implements reqlimit.Counters.
func (f *inflight) Give(ctx context.Context, ask *reqlimit.Ask, _ *window.Receipt) error {
	key := f.key(ask)
	told := f.holds(key).told
	_, err := f.run(ctx, key, "give", ask.Cost, 0)
	if f.hold(key, -ask.Cost) != told {
		f.change(key)
	}
	return err
}

// Reset implements reqlimit.Counters. Requests that are in flight go on, and are counted again within inflightRenewal.
func (f *inflight) Reset(ctx context.Context, ask *reqlimit.Ask) error {
	if _, err := f.hub.client.Do(ctx, "DEL", f.key(ask)); err != nil {
		return fmt.Errorf("forgetting counts in redis: %w", err)
	}
	return nil
}

// Proxies implements reqlimit.Shared.
func (f *inflight) Proxies() int { return int(f.hub.proxies.Load()) }

// tick tells anew what is held here. What changes while it is told, or cannot be told, is told again: it may have been taken
// for less than it is.
func (f *inflight) tick(ctx context.Context) {
	if !f.hub.client.Healthy() {
		return
	}
	severally(f.due(time.Now()), func(key string) {
		held := f.tell(key)
		_, err := f.run(ctx, key, "renew", held.count, 0) // notes the key if it fails
		if err == nil && f.holds(key) != held {
			f.change(key)
		}
	})
}

// due returns the keys that are to be told anew.
func (f *inflight) due(now time.Time) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.renewed) >= inflightRenewal {
		f.renewed = now
		for key := range f.held {
			f.changed[key] = struct{}{}
		}
	}
	due := slices.Collect(maps.Keys(f.changed))
	clear(f.changed)
	return due
}

// holds is how many are held here.
func (f *inflight) holds(key string) places {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held[key]
}

// tell is how many are about to be told.
func (f *inflight) tell(key string) places {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.held[key]
	if ok {
		p.told++
		f.held[key] = p
	}
	return p
}

// change notes that a key is to be told anew.
func (f *inflight) change(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed[key] = struct{}{}
}

// end gives everything back.
func (f *inflight) end(ctx context.Context) {
	f.mu.Lock()
	keys := slices.Collect(maps.Keys(f.held))
	f.mu.Unlock()
	severally(keys, func(key string) {
		_, _ = f.run(ctx, key, "renew", 0, 0) // else they expire
	})
}
