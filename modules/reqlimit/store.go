// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"context"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// Namespace is where stores are registered.
const Namespace = "gatehouse.limit_stores"

// Names of algorithms.
const (
	Sliding     = "sliding"
	Exact       = "exact"
	Smooth      = "smooth"
	GCRA        = "gcra"
	Concurrency = "concurrency"
)

// Spec is what a store needs to know of a policy to make room for it. Policies with equal specs and one store share counts.
type Spec struct {
	// Policy is the policy's name, of letters, digits and ._/+-, at most 64 bytes.
	Policy string
	// Algorithm is how to count: one of the constants above.
	Algorithm string
	// Buckets is the number of a sliding window's buckets; zero with the other algorithms.
	Buckets int
	// Windows is how many windows a rule of the policy has at most.
	Windows int
	// Limit is the highest limit of a rule that is known when the config is loaded. One that is read later may be higher; exact
	// counting is then bounded by this one.
	Limit int64
	// Always says that refused requests are counted, too.
	Always bool
}

// Ask is a question about one key.
type Ask struct {
	// Key is who is limited. It is the caller's again when the call returns.
	Key []byte
	// Rule is the windows that count it.
	Rule *window.Rule
	// Cost is how much to count. Zero counts nothing and tells how things stand.
	Cost int64
}

// Store keeps the counts of policies.
//
// Open is called while a config is provisioned, and dials nothing. What it returns lives until the store module's own
// Cleanup; counts outlive that, so that a reload loses none.
type Store interface {
	// Open makes room for a policy's counts, or finds those that another config or handler opened.
	Open(Spec) (Counters, error)
}

// Counters are the counts of one policy. Methods are called by any number of goroutines at once.
type Counters interface {
	// Take decides, and counts the cost in all windows if it fits into all of them: in one step, so that no two requests
	// get what is there for one. The result's fields are all set. An error means that nothing was decided. Counters that are
	// Shared bound their waits by themselves: their context does not end with the client.
	Take(ctx context.Context, ask *Ask, result *window.Result) error
	// Give takes back what Take counted, by its receipt; with concurrency, the request has ended.
	Give(ctx context.Context, ask *Ask, receipt *window.Receipt) error
	// Reset forgets what is counted for the key under the rule.
	Reset(ctx context.Context, ask *Ask) error
}

// Shared is implemented by counters that several proxies share.
type Shared interface {
	// Proxies is how many proxies were last seen to share the counts, this one among them; 0 if that is not known yet.
	Proxies() int
}

// Tables is implemented by stores that hold tables of limits which change without a reload.
type Tables interface {
	// Limits returns the text of a table's entry, such as "1000 1m", or "" if there is none.
	Limits(ctx context.Context, table, entry string) (string, error)
}

// Usage is how full a store is with one policy's counts.
type Usage struct {
	// Keys is how many keys there is room for; 0 if the store is not bounded by itself.
	Keys int `json:"max_keys,omitempty"`
	// Evicted is how many keys were forgotten while they counted, because there was no room for another one.
	Evicted uint64 `json:"evicted"`
	// EvictedLimited is how many of these were at their limit.
	EvictedLimited uint64 `json:"evicted_limited"`
}

// Bounded is implemented by counters with room for a number of keys.
type Bounded interface {
	// Usage tells how full they are.
	Usage() Usage
}
