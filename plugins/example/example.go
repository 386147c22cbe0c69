// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package example is the smallest plugin one could write: a ban store that keeps its list in a map. docs/plugins.md walks
// through it. No build of Gatehouse imports it; its test keeps it true.
package example

import (
	"context"
	"net/netip"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

func init() {
	caddy.RegisterModule(new(Store))
}

// Store keeps bans in this process until the config ends. It forgets them in a reload: the store in plugins/memory shows
// how state outlives one.
type Store struct {
	mu       sync.Mutex
	bans     map[netip.Prefix]ipban.Ban
	position uint64        // counts the changes
	changed  chan struct{} // closed, and replaced, after each
}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: ipban.Namespace + ".example", New: func() caddy.Module { return new(Store) }}
}

// UnmarshalCaddyfile reads the options, of which there are none. Syntax:
//
//	store example
func (*Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.NoBlock(d)
}

// Provision makes the store usable.
func (s *Store) Provision(caddy.Context) error {
	s.bans, s.changed = map[netip.Prefix]ipban.Ban{}, make(chan struct{})
	return nil
}

// Put records changes.
func (s *Store) Put(ctx context.Context, changes []ipban.Change) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, change := range changes {
		if change.Lift {
			delete(s.bans, change.Prefix)
		} else {
			s.bans[change.Prefix] = change.Ban
		}
	}
	s.position++
	close(s.changed)
	s.changed = make(chan struct{})
	return s.position, nil
}

// Follow hands over the whole list, and again after each change. A store for long lists would hand over the changes alone.
func (s *Store) Follow(ctx context.Context, apply func(ipban.Update)) error {
	for {
		list, changed := s.list()
		apply(list)
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// list returns the whole list, and a channel that tells when it is out of date.
func (s *Store) list() (ipban.Update, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	update := ipban.Update{Reset: true, Position: s.position}
	for _, ban := range s.bans {
		update.Changes = append(update.Changes, ipban.Change{Ban: ban})
	}
	return update, s.changed
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ ipban.Store           = (*Store)(nil)
)
