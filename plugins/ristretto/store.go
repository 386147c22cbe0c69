// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ristretto

import (
	"fmt"
	"sync"
	"sync/atomic"

	ristretto "github.com/dgraph-io/ristretto/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

const (
	// windowShare is the percentage of the budget that is the window, which works like an LRU: measured, a third for what came
	// last and the rest for what is asked for most often beats either alone, with steady and with drifting popularity.
	windowShare = 35
	// itemBytes is the size of an answer for which the frequency sketch is made, and countersPerItem how many counters each of
	// them gets. More counters keep popularity for longer, and adapt to a change more slowly.
	itemBytes       = 4 << 10
	countersPerItem = 10
	minCounters     = 1 << 12
	// maxCounters bounds the memory of the sketch, about five bytes a counter, which is taken at once and is no part of the budget.
	maxCounters = 1 << 28
	// bufferItems is how many lookups are counted together. The default of 64 makes new keys wait long for being known.
	bufferItems = 16
	// maxChances bounds how many items of the window are looked at for one that has to go: lookups wait meanwhile.
	maxChances = 64
	// batch bounds how many items leave the window at once, and slack is the part of it that they leave free.
	batch = 32
	slack = 64
)

// store is a window and a main part. Every key is in one of them.
//
// Writes go through one mutex, so that ristretto has few items on their way, of different keys: it loses updates, refuses deletions
// and holds bodies without counting them while items wait in its queue. Filling an answer takes far longer than a write.
type store struct {
	budget, held, items   atomic.Int64
	evicted, rejected     atomic.Uint64
	dropped               atomic.Uint64
	windowMax, windowCost int64 // guarded by mu

	mu     sync.Mutex // of writers
	main   *ristretto.Cache[string, *item]
	closed bool

	index sync.RWMutex // guards keys and order
	keys  map[string]*item
	order window
}

// item is a value with its key. It is counted until it is gone.
type item struct {
	key   string
	value respcache.Value
	cost  int64
	gone  atomic.Bool
	asked atomic.Bool // for it, since it was last looked at in the window

	newer, older *item // in the window
}

func open(budget int64) (*store, error) {
	s := &store{keys: map[string]*item{}}
	counters := min(max(budget/itemBytes*countersPerItem, minCounters), maxCounters)
	main, err := ristretto.NewCache(&ristretto.Config[string, *item]{
		NumCounters:        counters,
		MaxCost:            max(1, budget-budget*windowShare/100),
		BufferItems:        bufferItems,
		IgnoreInternalCost: true,
		OnEvict:            func(*ristretto.Item[*item]) { s.evicted.Add(1) },
		OnReject:           func(*ristretto.Item[*item]) { s.rejected.Add(1) },
		OnExit:             s.exit,
	})
	if err != nil {
		return nil, fmt.Errorf("making a ristretto cache of %d bytes: %w", budget, err)
	}
	s.main = main
	s.budget.Store(budget)
	s.windowMax = budget * windowShare / 100
	return s, nil
}

// exit is called by ristretto for what it does not hold any more, and for nothing at all where a key was deleted that it did
// not have. It must be quick, and must not call ristretto.
func (s *store) exit(it *item) {
	if it == nil || it.gone.Swap(true) {
		return
	}
	s.held.Add(-it.cost)
	s.items.Add(-1)
	it.value.Gone()
}

// Get implements respcache.Store.
func (s *store) Get(key string) (respcache.Value, bool) {
	s.index.RLock()
	it := s.keys[key]
	s.index.RUnlock()
	if it != nil {
		if !it.asked.Load() { // which others read: it is written once
			it.asked.Store(true)
		}
		s.main.Get(key) // a miss, which counts for its frequency
		return it.value, true
	}
	it, ok := s.main.Get(key)
	if !ok || it == nil || it.key != key {
		return nil, false
	}
	return it.value, true
}

// Put implements respcache.Store.
func (s *store) Put(key string, v respcache.Value) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := &item{key: key, value: v, cost: v.Cost()}
	s.held.Add(it.cost)
	s.items.Add(1)
	if s.closed || it.cost > s.budget.Load()-s.windowMax {
		s.remove(key)
		s.dropped.Add(1)
		s.exit(it)
		return false
	}
	s.index.Lock()
	old := s.keys[key]
	if old != nil {
		s.order.remove(old)
	}
	s.keys[key] = it
	s.order.push(it)
	s.index.Unlock()
	s.windowCost += it.cost
	if old != nil {
		s.windowCost -= old.cost
		s.exit(old)
	} else {
		s.deleteMain(key)
	}
	for s.windowCost > s.windowMax {
		s.demote()
	}
	return s.kept(it)
}

// kept reports whether an item has not been lost on its way. The caller holds mu.
func (s *store) kept(it *item) bool { return !it.gone.Load() }

// deleteMain removes a key from the main part, for good when it returns. The caller holds mu.
func (s *store) deleteMain(key string) {
	if _, ok := s.main.Get(key); ok {
		s.main.Del(key)
		s.main.Wait()
	}
}

// oldest is the item of the window that has waited longest without being asked for. Those that have been asked for go to the
// front once more. The caller holds mu.
func (s *store) oldest() *item {
	s.index.Lock()
	defer s.index.Unlock()
	for range maxChances {
		it := s.order.oldest
		if !it.asked.Swap(false) {
			return it
		}
		s.order.remove(it)
		s.order.push(it)
	}
	return s.order.oldest
}

// demote moves the oldest items of the window to the main part, which may refuse them: some at once, as each time takes a turn of
// ristretto's goroutine. They are found in the window until they are in the main part. The caller holds mu.
func (s *store) demote() {
	var moved, refused []*item
	for len(moved) < batch && s.order.oldest != nil && s.windowCost > s.windowMax-s.windowMax/slack {
		it := s.oldest()
		if s.windowCost <= s.windowMax && it == s.order.newest {
			break // which has only just come
		}
		s.index.Lock()
		s.order.remove(it)
		s.index.Unlock()
		s.windowCost -= it.cost
		moved = append(moved, it)
		if !s.main.Set(it.key, it, it.cost) {
			s.dropped.Add(1)
			refused = append(refused, it)
		}
	}
	s.main.Wait()
	s.index.Lock()
	for _, it := range moved {
		delete(s.keys, it.key)
	}
	s.index.Unlock()
	for _, it := range refused {
		s.exit(it)
	}
}

// Delete implements respcache.Store.
func (s *store) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
}

// remove deletes a key. The caller holds mu.
func (s *store) remove(key string) {
	s.index.Lock()
	it := s.keys[key]
	if it != nil {
		s.order.remove(it)
		delete(s.keys, key)
	}
	s.index.Unlock()
	if it != nil {
		s.windowCost -= it.cost
		s.exit(it)
		return
	}
	if !s.closed {
		s.deleteMain(key)
	}
}

// Resize implements respcache.Keeper.
func (s *store) Resize(budget int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || budget == s.budget.Load() {
		return
	}
	s.budget.Store(budget)
	s.windowMax = budget * windowShare / 100
	s.main.UpdateMaxCost(max(1, budget-s.windowMax))
	for s.windowCost > s.windowMax && s.order.oldest != nil {
		s.demote()
	}
	s.shrink()
}

// shrink removes items from the main part until it keeps to its budget: ristretto itself does that only when a new item comes.
// The caller holds mu.
func (s *store) shrink() {
	excess := -s.main.RemainingCost()
	if excess <= 0 {
		return
	}
	var keys []string
	s.main.IterValues(func(it *item) bool {
		keys = append(keys, it.key)
		excess -= it.cost
		return excess <= 0
	})
	for _, key := range keys {
		s.evicted.Add(1)
		s.main.Del(key)
		s.main.Wait()
	}
}

// Walk implements respcache.Keeper.
func (s *store) Walk(visit func(respcache.Value) bool) {
	s.index.RLock()
	values := make([]respcache.Value, 0, len(s.keys))
	for _, it := range s.keys { // and not order, which lacks what is on its way to the main part
		values = append(values, it.value)
	}
	s.index.RUnlock()
	for _, v := range values {
		if !visit(v) {
			return
		}
	}
	s.main.IterValues(func(it *item) bool { return !visit(it.value) })
}

// Figures implements respcache.Keeper.
func (s *store) Figures() respcache.Figures {
	return respcache.Figures{
		Budget: s.budget.Load(), Held: s.held.Load(), Items: s.items.Load(),
		Evicted: s.evicted.Load(), Rejected: s.rejected.Load(), Dropped: s.dropped.Load(),
	}
}

// Close implements io.Closer. A later Put is refused: ristretto would panic.
func (s *store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for s.order.oldest != nil {
		s.remove(s.order.oldest.key)
	}
	s.main.Close()
	return nil
}

// Interface guard.
var _ respcache.OpenStore = (*store)(nil)
