// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package lease keeps shared values alive across config reloads.
//
// Caddy builds the new config beside the old one, and cleans up a rejected config as it cleans up a used one, also when
// its Provision stopped half-way. A Cleanup that releases what its Provision never took would destroy what the running
// config uses. A Lease knows whether it holds anything, so every Cleanup is one line: `return m.lease.Release()`.
package lease

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
)

// ErrForeign is returned by Take when the pool holds a value of another type under the key.
var ErrForeign = errors.New("the pool holds a value of another type under this key")

// Lease is one counted reference to a value in a pool. The zero Lease refers to nothing, and releasing it does nothing.
// A Lease is not safe for concurrent use: it belongs to the one module that took it.
type Lease struct {
	pool *caddy.UsagePool
	key  string
}

// Take returns the pool's value for key, building it if this is the first reference.
//
// Everything that build reads must be in key (secrets hashed), as whoever comes first builds for all. The value
// outlives the config that built it: it must not keep that config's context, logger or metrics registry.
// An error of build is returned unchanged, and nothing is held then.
func Take[T caddy.Destructor](pool *caddy.UsagePool, key string, build func() (T, error)) (T, Lease, error) {
	var none T
	v, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return build() })
	if err != nil {
		return none, Lease{}, err
	}
	l := Lease{pool: pool, key: key}
	t, ok := v.(T)
	if !ok {
		return none, Lease{}, errors.Join(ErrForeign, l.Release())
	}
	return t, l, nil
}

// Held reports whether l refers to a value.
func (l *Lease) Held() bool { return l.pool != nil }

// Release gives the reference back and, if it was the last one, destroys the value; the error is the destructor's.
// It may be called more than once.
func (l *Lease) Release() error {
	if l.pool == nil {
		return nil
	}
	pool, key := l.pool, l.key
	*l = Lease{}
	_, err := pool.Delete(key)
	return err
}
