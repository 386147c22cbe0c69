// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// sweepPause is the least time between two sweeps for want of room.
const sweepPause = 10 * time.Second

// lists holds what this process knows of each store's bans. It outlives configs, so that after a reload, also a rejected
// one, and while the store is away, the last list stays in force.
var lists = caddy.NewUsagePool()

// listKey names a store: its module and its options. Options may hold secrets, so they go in hashed.
func listKey(store Store, raw json.RawMessage) (string, error) {
	module, ok := store.(caddy.Module)
	if !ok {
		return "", fmt.Errorf("store %T is no Caddy module", store)
	}
	options := map[string]json.RawMessage{}
	if raw != nil {
		if err := json.Unmarshal(raw, &options); err != nil {
			return "", fmt.Errorf("reading the options of the store: %w", err)
		}
		delete(options, "store") // a store that is named and one that is the default are the same
	}
	canonical, err := json.Marshal(options)
	if err != nil {
		return "", fmt.Errorf("reading the options of the store: %w", err)
	}
	return fmt.Sprintf("%s %x", module.CaddyModule().ID, sha256.Sum256(canonical)), nil
}

// list is the bans of one store, as far as this process has heard. It is fed by the newest of the configs that attached
// to it: had it two feeds, the slower one would undo what the faster one brought.
type list struct {
	store string // its module's name, by which metrics call the list
	table table

	mu       sync.Mutex
	sources  []*source     // of the configs that are started, the newest last
	feed     *feed         // of the newest source; nil if there is none
	known    bool          // a feed has delivered the list at least once
	broken   bool          // the feed has failed, and has delivered nothing since
	position uint64        // how far the feed has come
	moved    chan struct{} // closed, and replaced, whenever one of the three above changes
	swept    time.Time     // when a sweep for room last began
	reserved int           // room that is kept for bans that are being recorded, in prefixes

	pending  pending   // bans that this process made and the store has not recorded; guarded by mu
	strikes  strikes   // what may become bans
	history  history   // what makes bans longer
	dry      dryList   // what would be banned
	operator operators // who is never banned by a rule
}

func newList(store string) *list {
	return &list{store: store, moved: make(chan struct{}), pending: pending{wake: make(chan struct{}, 1)}}
}

// Destruct implements caddy.Destructor. No feed runs any more: every config that attached has detached.
func (*list) Destruct() error { return nil }

// source is where a config has the list fed from.
type source struct {
	store  Store
	limit  int // of prefixes
	logger *zap.Logger

	feed *feed // the last that was started for it; guarded by list.mu
}

// attach has s feed the list, in place of the source before, until it is detached.
func (l *list) attach(s *source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sources = append(l.sources, s)
	l.switchFeed(s)
}

// detach ends the feed of s, if a newer config's has not replaced it yet, and waits for it: the store of s may be closed
// afterwards. If a newer config was rejected after its start, the older one takes over again.
func (l *list) detach(s *source) {
	l.mu.Lock()
	l.sources = slices.DeleteFunc(l.sources, func(other *source) bool { return other == s })
	if l.feed != nil && l.feed.source == s {
		if len(l.sources) > 0 {
			l.switchFeed(l.sources[len(l.sources)-1])
		} else {
			l.feed.cancel()
			l.feed = nil
		}
	}
	done := s.feed.done
	l.mu.Unlock()
	select {
	case <-done:
	case <-time.After(stopTimeout):
		s.logger.Error("the store did not stop following", zap.Duration("waited", stopTimeout))
	}
}

// switchFeed replaces the feed. The caller holds mu.
func (l *list) switchFeed(s *source) {
	if l.feed != nil {
		l.feed.cancel()
	}
	l.feed = startFeed(l, s)
	s.feed = l.feed
}

// update takes in what a feed delivers, unless the feed has been replaced.
func (l *list) update(f *feed, u Update) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.feed != f {
		return
	}
	dropped := l.merge(f, u)
	if u.More {
		return
	}
	if dropped > 0 {
		overLimit().Add(float64(dropped))
		f.source.logger.Error("the store holds more bans than max_bans: some are not in force",
			zap.Int("dropped", dropped), zap.Int("max_bans", f.source.limit))
	}
	l.known, l.broken, l.position = true, false, u.Position
	l.wake()
}

// merge takes an update into the table and the history, or into those that are to replace them. It returns how many bans it
// had no room for. The caller holds mu.
func (l *list) merge(f *feed, u Update) (dropped int) {
	now, limit := time.Now(), f.source.limit
	if u.Reset {
		f.staged = new(staged)
	}
	next := f.staged
	if next == nil {
		l.history.note(u.Changes, now, limit)
		return l.table.apply(u.Changes, limit)
	}
	next.dropped += next.table.extend(u.Changes, limit)
	next.history.note(u.Changes, now, limit)
	if u.More {
		return 0
	}
	f.staged = nil
	made := l.pending.all() // the store does not know of them yet, and will
	next.dropped += next.table.extend(made, limit)
	next.history.note(made, now, limit)
	l.table.adopt(&next.table)
	l.history.adopt(&next.history)
	return next.dropped
}

// staged is a list that arrives in several updates.
type staged struct {
	table   table
	history history
	dropped int
}

// fail notes that a feed broke, unless it has been replaced.
func (l *list) fail(f *feed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.staged = nil
	if l.feed != f {
		return
	}
	l.broken = true
	l.wake()
}

// following reports whether a config has the list fed, and whether its store delivers.
func (l *list) following() (attached, up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sources) > 0, l.known && !l.broken
}

// wake has everybody who waits look again. The caller holds mu.
func (l *list) wake() {
	close(l.moved)
	l.moved = make(chan struct{})
}

// wait returns nil as soon as ok holds, which is asked with mu held, or ctx's error.
func (l *list) wait(ctx context.Context, ok func() bool) error {
	for {
		l.mu.Lock()
		done, moved := ok(), l.moved
		l.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reach waits until the feed has come to a position.
func (l *list) reach(ctx context.Context, position uint64) error {
	return l.wait(ctx, func() bool { return l.known && l.position >= position })
}

// begun waits until a feed has delivered the list, or has failed to, and returns whether the list is known.
func (l *list) begun(ctx context.Context) (known bool) {
	_ = l.wait(ctx, func() bool { known = l.known; return known || l.broken })
	return known
}

// sweepForRoom sweeps expired bans, unless that was done a moment ago: a list that is full is full for every caller.
func (l *list) sweepForRoom() {
	l.mu.Lock()
	soon := time.Since(l.swept) < sweepPause
	if !soon {
		l.swept = time.Now()
	}
	l.mu.Unlock()
	if !soon {
		l.table.sweep()
	}
}

// sweep drops what has expired of everything that is held.
func (l *list) sweep() {
	l.table.sweep()
	l.dry.table.sweep()
	now := time.Now()
	l.strikes.sweep(now)
	l.history.sweep(now)
	l.dry.history.sweep(now)
}

// reserve keeps room for n further bans, if no more than limit are in force or being recorded then.
func (l *list) reserve(n, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.table.count()+l.reserved+n > limit {
		return false
	}
	l.reserved += n
	return true
}

// unreserve gives the room back: by now the bans are in force, or were not recorded.
func (l *list) unreserve(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved -= n
}
