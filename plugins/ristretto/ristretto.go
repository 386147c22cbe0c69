// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package ristretto keeps stored answers in memory, within a budget of bytes: a window of what came last, and behind it a
// ristretto cache, which keeps what is asked for most often.
package ristretto

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

func init() { caddy.RegisterModule(Store{}) }

// Store is the store of response_cache in this process's memory. It has no options: its budget is the one of response_cache.
type Store struct{}

// CaddyModule returns the Caddy module information.
func (Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: respcache.StoreNamespace + ".ristretto", New: func() caddy.Module { return new(Store) }}
}

// UnmarshalCaddyfile reads the options, of which there are none. Syntax:
//
//	store ristretto
func (*Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.NoBlock(d)
}

// Open implements respcache.Opener.
func (*Store) Open(budget int64) (respcache.OpenStore, error) { return open(budget) }

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ respcache.Opener      = (*Store)(nil)
)
