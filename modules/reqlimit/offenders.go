// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"slices"
	"sync"
)

const (
	// maxOffenders is how many keys a sketch counts: 256 of at most 256 bytes a policy.
	maxOffenders = 256
	// maxTop is how many of them are told. The rest are there to make these right.
	maxTop = 100
)

// offenders finds the keys that are refused most, in bounded memory: the space-saving sketch (Metwally, Agrawal, El Abbadi,
// 2005). A new key takes the place of the one with the least count and inherits that as its possible error, so a key with
// more than one in maxOffenders of all refusals is always found.
type offenders struct {
	mu      sync.Mutex // guards the rest
	entries []offender
	index   map[string]int
}

// offender is a key that was refused.
type offender struct {
	// Key is the key.
	Key string `json:"key"`
	// Refused is the cost of its refused requests, at most this.
	Refused int64 `json:"refused"`
	// Error is by how much Refused may be too high.
	Error int64 `json:"error"`
}

// add counts a refusal.
func (o *offenders) add(key []byte, cost int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i, ok := o.index[string(key)]; ok {
		o.entries[i].Refused += cost
		return
	}
	if o.index == nil {
		o.index = make(map[string]int, maxOffenders)
	}
	if len(o.entries) < maxOffenders {
		o.index[string(key)] = len(o.entries)
		o.entries = append(o.entries, offender{Key: string(key), Refused: cost})
		return
	}
	least := 0
	for i := range o.entries {
		if o.entries[i].Refused < o.entries[least].Refused {
			least = i
		}
	}
	e := &o.entries[least]
	delete(o.index, e.Key)
	o.index[string(key)] = least
	*e = offender{Key: string(key), Refused: e.Refused + cost, Error: e.Refused}
}

// top returns the n keys that were refused most.
func (o *offenders) top(n int) []offender {
	o.mu.Lock()
	all := slices.Clone(o.entries)
	o.mu.Unlock()
	slices.SortFunc(all, func(a, b offender) int { return int(min(max(b.Refused-a.Refused, -1), 1)) })
	return all[:min(n, len(all))]
}

// forget takes a key out, as its counts were reset.
func (o *offenders) forget(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i, ok := o.index[key]
	if !ok {
		return
	}
	last := len(o.entries) - 1
	delete(o.index, key)
	if i != last {
		o.entries[i] = o.entries[last]
		o.index[o.entries[i].Key] = i
	}
	o.entries = o.entries[:last]
}
