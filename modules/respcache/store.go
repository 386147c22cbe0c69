// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"io"
)

// The namespaces of this host's guests.
const (
	// StoreNamespace is where stores are registered.
	StoreNamespace = "gatehouse.cache_stores"
	// FeedNamespace is where purge feeds are registered.
	FeedNamespace = "gatehouse.purge_feeds"
)

// Value is what a store keeps under a key. Its methods may be called from any goroutine.
type Value interface {
	// Cost is how many bytes the value takes of the store's budget. It does not change.
	Cost() int64
	// Gone tells the value that the store does not hold it any more: the store calls it exactly once for each Put, also if
	// the value was not kept. It is short and may be called with locks of the store held.
	Gone()
}

// Store keeps values within a budget of bytes. The handlers call it from any number of goroutines at once. Get is on the
// way of every request: it waits for nothing.
//
// A store evicts what it likes, when it likes; it never returns what was stored under another key.
//
// Package respcachetest holds the tests that every implementation must pass.
type Store interface {
	// Get returns the value of a key. The key must not be kept.
	Get(key string) (Value, bool)
	// Put keeps a value in place of the one before, and reports whether it did. When it returns, Get finds the value, or
	// nothing if the value was not kept or has been evicted since: never the one before. The key may be kept.
	Put(key string, v Value) bool
	// Delete removes a key. When it returns, Get does not find the value that was there.
	Delete(key string)
}

// Keeper is what the owner of a store does with it. A store implements it beside Store.
type Keeper interface {
	// Resize changes the budget, in bytes. A smaller one is kept to when Resize returns.
	Resize(budget int64)
	// Walk calls visit with every value until it returns false, in any order. It may miss values that come meanwhile, and
	// visit must not call the store.
	Walk(visit func(Value) bool)
	// Figures tells how full the store is.
	Figures() Figures
}

// Figures are what a store tells about itself.
type Figures struct {
	// Budget is the bytes that may be held.
	Budget int64
	// Held is the cost of the values that are held, in bytes.
	Held int64
	// Items is how many values are held.
	Items int64
	// Evicted counts values that had to make room.
	Evicted uint64
	// Rejected counts values that were not kept because others are asked for more often.
	Rejected uint64
	// Dropped counts values that were not kept because the store could not keep up, or because they are too large.
	Dropped uint64
}

// OpenStore is a store with its owner's side. Close is called when no config uses it any more, and no request: it
// tells every value that it is gone.
type OpenStore interface {
	Store
	Keeper
	io.Closer
}

// Opener is a guest of the namespace gatehouse.cache_stores: the configuration of a store. The store itself outlives the
// configuration, so it keeps nothing of it.
type Opener interface {
	// Open makes an empty store with a budget in bytes.
	Open(budget int64) (OpenStore, error)
}

// Feed is a guest of the namespace gatehouse.purge_feeds: it carries purges to every proxy that follows it.
type Feed interface {
	// Send tells all followers of purges, this process among them. It returns once they will be heard of, also by a follower
	// that is away for the moment, or with an error. ctx has a deadline of some seconds.
	Send(ctx context.Context, purges []Purge) error
	// Follow calls apply with purges in the order of their sending, until ctx ends or the feed breaks; it then returns, and
	// apply is not called after. position is where an earlier call came to, and empty for the first one, which hears of
	// purges from now on. If what came after position is not known any more, a purge of everything stands for it.
	// The host calls again after a pause.
	Follow(ctx context.Context, position string, apply func(purges []Purge, position string)) error
}

// The kinds of purges.
const (
	PurgeURL    = "url"    // one URL with its variants; the query matters
	PurgePrefix = "prefix" // every URL that begins with the value
	PurgeHost   = "host"   // every URL of a host
	PurgeTag    = "tag"    // every answer with the tag
	PurgeGroup  = "group"  // every answer of an origin in a cache group: "<scheme>://<host> <group>"
	PurgeAll    = "all"    // everything
)

// Purge says what is to be removed.
type Purge struct {
	// Kind is one of the kinds above.
	Kind string `json:"kind"`
	// Value is the URL, prefix, host (as in a URL, without a default port), tag or group; empty for everything.
	Value string `json:"value,omitempty"`
	// Soft makes answers stale instead: they are validated, or served while that is done, as if their time had come.
	Soft bool `json:"soft,omitempty"`
}
