// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"net/netip"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// maxPending bounds what is queued for one follower, in changes; one that falls further behind is given the whole list.
const maxPending = 100_000

// maxRemembered bounds the bans that are over and only make a client's next one longer: a flood of clients that are banned for
// minutes would else be remembered for days, at 300 bytes each. Those in force are bounded by max_bans.
const maxRemembered = 1_000_000

// banLists holds the one list of this process.
var banLists = caddy.NewUsagePool()

func init() { caddy.RegisterModule(BanStore{}) }

// BanStore keeps the list of bans in this process. The list outlives reloads and, by a snapshot in Caddy's storage,
// restarts. A change is written there a second later, or later still if the list is so long that writing it takes time, and
// when the process ends; a crash loses what was not written. Processes that share one storage overwrite each
// other's snapshot: to share bans, use a store that is made for it.
type BanStore struct {
	list    *banList
	lease   lease.Lease
	storage certmagic.Storage
	logger  *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (BanStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: ipban.Namespace + ".memory", New: func() caddy.Module { return new(BanStore) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax: `store memory`.
func (s *BanStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.NoBlock(d)
}

// Provision implements caddy.Provisioner.
func (s *BanStore) Provision(ctx caddy.Context) (err error) {
	s.logger = ctx.Logger()
	s.storage = ctx.Storage()
	s.list, s.lease, err = lease.Take(banLists, "bans", func() (*banList, error) { return newBanList(), nil })
	return err
}

// Cleanup implements caddy.CleanerUpper.
func (s *BanStore) Cleanup() error { return s.lease.Release() }

// Put implements ipban.Store.
func (s *BanStore) Put(ctx context.Context, changes []ipban.Change) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return s.list.put(changes), nil
}

// Follow implements ipban.Store. It also keeps the snapshot: loads it the first time, writes it while it runs and before
// it returns.
func (s *BanStore) Follow(ctx context.Context, apply func(ipban.Update)) error {
	if err := s.list.load(ctx, s.storage, s.logger); err != nil {
		return err
	}
	saving := make(chan struct{})
	go func() {
		defer close(saving)
		s.list.keepSaved(ctx, s.logger)
	}()
	defer func() { <-saving }()

	f := s.list.join()
	defer s.list.leave(f)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.wake:
			apply(s.list.take(f))
		}
	}
}

// banList is the list. It outlives configs.
type banList struct {
	mu        sync.Mutex
	bans      map[netip.Prefix]ipban.Ban
	position  uint64 // counts changes of bans
	followers map[*follower]struct{}

	remembered int // maxRemembered, but in tests

	snapshot snapshot
}

// follower is one running call of Follow. banList.mu guards it.
type follower struct {
	pending []ipban.Change
	reset   bool          // give it the whole list next, not pending
	wake    chan struct{} // holds a token while there is something to take
}

func newBanList() *banList {
	return &banList{
		bans:       map[netip.Prefix]ipban.Ban{},
		followers:  map[*follower]struct{}{},
		remembered: maxRemembered,
		snapshot:   snapshot{changed: make(chan struct{}, 1)},
	}
}

func (l *banList) put(changes []ipban.Change) (position uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(changes) == 0 {
		return l.position
	}
	for _, c := range changes {
		if c.Lift {
			delete(l.bans, c.Prefix)
		} else {
			l.bans[c.Prefix] = c.Ban
		}
	}
	l.position++
	for f := range l.followers {
		f.add(changes)
	}
	signal(l.snapshot.changed)
	return l.position
}

// add queues changes for a follower, or the whole list if they are too many.
func (f *follower) add(changes []ipban.Change) {
	if f.reset = f.reset || len(f.pending)+len(changes) > maxPending; f.reset {
		f.pending = nil
	} else {
		f.pending = append(f.pending, changes...)
	}
	signal(f.wake)
}

// join adds a follower, which gets the whole list first.
func (l *banList) join() *follower {
	f := &follower{reset: true, wake: make(chan struct{}, 1)}
	signal(f.wake)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followers[f] = struct{}{}
	return f
}

func (l *banList) leave(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers, f)
}

// take returns what a follower has not been given yet.
func (l *banList) take(f *follower) ipban.Update {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := ipban.Update{Reset: f.reset, Changes: f.pending, Position: l.position}
	if f.reset {
		u.Changes = make([]ipban.Change, 0, len(l.bans))
		for _, b := range l.bans {
			u.Changes = append(u.Changes, ipban.Change{Ban: b})
		}
	}
	f.reset, f.pending = false, nil
	return u
}

// signal leaves a token in a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Interface guards
var (
	_ ipban.Store           = (*BanStore)(nil)
	_ caddy.Provisioner     = (*BanStore)(nil)
	_ caddy.CleanerUpper    = (*BanStore)(nil)
	_ caddyfile.Unmarshaler = (*BanStore)(nil)
)
