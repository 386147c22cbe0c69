// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package processwide is for what the whole process has once and each config may set: its garbage collector, its scheduler.
//
// During a reload two configs run. The one that came last counts; when it ends, or is rejected, the one before counts again,
// and after the last one what was there without any of them.
package processwide

import (
	"os"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// key is the one that every pool here has: it holds one value.
const key = "process"

// Pool holds the process's one P, while anything refers to it. It is safe for concurrent use.
type Pool[P any] struct{ values *caddy.UsagePool }

// kept makes a value of any type one for a pool. Nothing becomes of it in the end: who set something takes it back before.
type kept[P any] struct{ value P }

// Destruct implements caddy.Destructor.
func (*kept[P]) Destruct() error { return nil }

// NewPool returns a pool without its value.
func NewPool[P any]() Pool[P] { return Pool[P]{caddy.NewUsagePool()} }

// Take returns the process's P, a zero one at first. Without a reference to it, it is forgotten. The error is that of
// lease.Take.
func (p Pool[P]) Take() (*P, lease.Lease, error) {
	k, l, err := lease.Take(p.values, key, func() (*kept[P], error) { return new(kept[P]), nil })
	if err != nil {
		return nil, l, err
	}
	return &k.value, l, nil
}

// Adapt has the process's P set something for the life of the process, unless the environment variable is set, which is the
// operator's word. The error is that of lease.Take.
func (p Pool[P]) Adapt(variable string, set func(*P)) error {
	if os.Getenv(variable) != "" {
		return nil
	}
	value, _, err := p.Take() // never released
	if err != nil {
		return err
	}
	set(value)
	return nil
}

// Read returns a figure of the process's P, for a metric: that of a zero one, where nothing refers to it.
func (p Pool[P]) Read(figure func(*P) float64) float64 {
	value, l, err := p.Take()
	if err != nil {
		return 0
	}
	defer func() { _ = l.Release() }() // its destructor has no error
	return figure(value)
}

// Users are who sets something, in the order in which they came, and how. The zero value has none. It is not safe for
// concurrent use.
type Users[S any] struct{ all []user[S] }

type user[S any] struct {
	owner    any
	settings S
}

// Add has the owner set something, until it is removed or another one comes.
func (u *Users[S]) Add(owner any, settings S) { u.all = append(u.all, user[S]{owner, settings}) }

// Remove ends what the owner sets. It reports whether there was such an owner, and whether it was the last one, whose
// settings counted.
func (u *Users[S]) Remove(owner any) (found, counted bool) {
	i := slices.IndexFunc(u.all, func(one user[S]) bool { return one.owner == owner })
	if i < 0 {
		return false, false
	}
	u.all = slices.Delete(u.all, i, i+1)
	return true, i == len(u.all)
}

// Last returns the settings that count, and false if there are none.
func (u *Users[S]) Last() (S, bool) {
	if len(u.all) == 0 {
		var none S
		return none, false
	}
	return u.all[len(u.all)-1].settings, true
}

// Settings returns all settings; the last ones count.
func (u *Users[S]) Settings() []S {
	settings := make([]S, len(u.all))
	for i, one := range u.all {
		settings[i] = one.settings
	}
	return settings
}
