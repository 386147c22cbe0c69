// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
)

// table answers whether an address is banned. Readers take no lock: they see an immutable routing table, which a writer
// replaces by a copy that shares all but the changed nodes.
//
// Nothing is ever deleted from a copy. A lifted ban is one that has expired, and the sweep builds a new table without
// expired entries once there are many: deleting one by one would cost a copy of a path through the table each.
// The zero table is empty.
type table struct {
	current atomic.Pointer[view]
	// lasting is a Unix time in nanoseconds of which it is known that it is not over: a ban that ends later is in force, and
	// the clock, which costs more than a lookup, need not be read. 0 if nobody keeps it.
	lasting atomic.Int64

	sweeping sync.Mutex // held through a sweep; taken before mu

	mu     sync.Mutex // serializes writers
	live   int        // entries that were in force at the last sweep, and changes since; guarded by mu
	resets int        // how often the whole was replaced; guarded by mu
	// While a sweep builds a new table: what was changed since it began. nil otherwise; guarded by mu.
	missed *[]*routes
}

type routes = bart.Table[entry]

// view is what readers see: the routes and, if they are many, what makes looking addresses up in them quick.
type view struct {
	routes *routes
	index  *index // knows all routes; nil if they are few
}

// entry is what a prefix maps to; 24 bytes, as there may be a million.
type entry struct {
	// made is when the ban was made, in Unix milliseconds, 0 if that is not known. The lowest eight bits are the prefix's
	// length, which the quickest lookup of an address does not tell.
	made    uint64
	expires int64 // Unix time in nanoseconds; 0 is never
	note    *note
}

// note is shared by the bans that were recorded together.
type note struct {
	reason, source string
	level          int
}

// lifted is what replaces the entry of a lifted ban: one that expired long ago.
func lifted() entry { return entry{expires: 1, note: &note{}} }

func (e entry) inForce() bool { return e.expires == 0 || e.expires > time.Now().UnixNano() }

// prefix is the one that covers addr.
func (e entry) prefix(addr netip.Addr) netip.Prefix {
	return netip.PrefixFrom(addr.WithZone(""), int(e.made&0xff)).Masked()
}

func (e entry) ban(prefix netip.Prefix) Ban {
	b := Ban{
		Prefix: prefix, Reason: e.note.reason, Source: e.note.source, Level: e.note.level, Expires: fromNano(e.expires),
	}
	if ms := e.made >> 8; ms != 0 {
		b.Created = time.UnixMilli(int64(ms)).UTC()
	}
	return b
}

// toNano keeps the zero time zero. Times before 1970, which a foreign store may hold, become the nanosecond after it, and
// those after 2262, which a ban for 300 years has, the last one that the entry can hold: wrapped around, it would be past.
func toNano(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Unix() < 0:
		return 1
	case t.Unix() >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return max(t.UnixNano(), 1)
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// keepTime is called at least each sweepInterval. Where the clock jumps ahead, a ban may last so much longer than it should.
func (t *table) keepTime() { t.lasting.Store(time.Now().Add(2 * sweepInterval).UnixNano()) }

// load returns the current routes, which must not be changed.
func (t *table) load() *routes {
	if v := t.current.Load(); v != nil {
		return v.routes
	}
	return new(routes)
}

// publish makes next what readers see. added are the routes that the ones before did not have. The caller holds mu.
func (t *table) publish(next, added *routes) {
	old := t.current.Load()
	if old == nil || old.index == nil {
		t.current.Store(&view{next, newIndex(next)})
		return
	}
	old.index.filter.add(added)
	if x := old.index.room(added); x != old.index {
		x.add(added)
		t.current.Store(&view{next, x})
		return
	}
	old.index.change(added, func() { t.current.Store(&view{next, old.index}) })
}

// find returns the longest ban in force that covers addr. A longer one that has expired hides nothing.
func (t *table) find(addr netip.Addr) (netip.Prefix, entry, bool) {
	v := t.current.Load()
	if v == nil {
		return netip.Prefix{}, entry{}, false
	}
	if v.index != nil {
		if !v.index.filter.mayHold(addr) { // the way of nearly every request
			return netip.Prefix{}, entry{}, false
		}
		lasting := t.lasting.Load()
		if lasting == 0 {
			lasting = math.MaxInt64
		}
		if prefix, e, ok, sure := v.index.find(addr, lasting); sure {
			return prefix, e, ok
		}
	}
	return v.find(addr)
}

// find looks the address up in the routes.
func (v *view) find(addr netip.Addr) (netip.Prefix, entry, bool) {
	e, ok := v.routes.Lookup(addr)
	if !ok {
		return netip.Prefix{}, entry{}, false
	}
	if e.inForce() {
		return e.prefix(addr), e, true
	}
	for prefix, e := range v.routes.Supernets(netip.PrefixFrom(addr, addr.BitLen())) {
		if e.inForce() {
			return prefix, e, true
		}
	}
	return netip.Prefix{}, entry{}, false
}

// get returns the ban of exactly prefix, if it is in force.
func (t *table) get(prefix netip.Prefix) (entry, bool) {
	e, ok := t.load().Get(prefix)
	return e, ok && e.inForce()
}

// covering returns the longest ban in force that covers all of prefix.
func (t *table) covering(prefix netip.Prefix) (netip.Prefix, bool) {
	for wider, e := range t.load().Supernets(prefix) {
		if e.inForce() {
			return wider, true
		}
	}
	return netip.Prefix{}, false
}

// page returns up to limit bans in force in the order of their prefixes, beginning after the given one; the zero prefix is
// before all. more reports whether there are further ones.
func (t *table) page(after netip.Prefix, limit int) (bans []Ban, more bool) {
	for prefix, e := range t.load().AllSorted() {
		if after.IsValid() && prefix.Compare(after) <= 0 || !e.inForce() {
			continue
		}
		if len(bans) == limit {
			return bans, true
		}
		bans = append(bans, e.ban(prefix))
	}
	return bans, false
}

// count is how many bans are in force; those that expired since the last sweep still count.
func (t *table) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live
}

// apply makes changes in one copy. Above limit, bans of further prefixes are dropped; it returns how many.
func (t *table) apply(changes []Change, limit int) (dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	current := t.load()
	delta := new(routes)
	dropped = t.merge(current, delta, changes, limit)
	if delta.Size() == 0 {
		return dropped
	}
	t.publish(current.UnionPersist(delta), delta)
	if t.missed != nil {
		*t.missed = append(*t.missed, delta)
	}
	return dropped
}

// replace makes the changes the whole list, as apply does with an empty table.
func (t *table) replace(changes []Change, limit int) (dropped int) {
	fresh := new(table)
	dropped = fresh.extend(changes, limit)
	t.adopt(fresh)
	return dropped
}

// extend makes changes as apply does, in a table that nobody reads yet: it needs no copy.
func (t *table) extend(changes []Change, limit int) (dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, delta := t.load(), new(routes)
	dropped = t.merge(all, delta, changes, limit)
	all.Union(delta)
	t.publish(all, delta)
	return dropped
}

// adopt makes the list that of fresh, which must not be used any more.
func (t *table) adopt(fresh *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.Store(fresh.current.Load())
	t.live = fresh.live
	t.resets++
}

// merge inserts changes into delta, which is about to be laid over base. The caller holds mu.
func (t *table) merge(base, delta *routes, changes []Change, limit int) (dropped int) {
	notes := map[note]*note{} // bans that are recorded together often say the same
	for _, c := range changes {
		if !c.Prefix.IsValid() {
			continue
		}
		old, known := delta.Get(c.Prefix)
		if !known {
			old, known = base.Get(c.Prefix)
		}
		counted := known && old.inForce()
		e := lifted()
		if !c.Lift {
			e = newEntry(c.Ban, notes)
		}
		switch wanted := e.inForce(); {
		case !wanted && !known:
			continue
		case wanted && !counted && t.live >= limit:
			dropped++
			continue
		case wanted && !counted:
			t.live++
		case !wanted && counted:
			t.live--
		}
		delta.Insert(c.Prefix, e)
	}
	return dropped
}

func newEntry(b Ban, notes map[note]*note) entry {
	text := note{b.Reason, b.Source, b.Level}
	shared, ok := notes[text]
	if !ok {
		shared = &text
		notes[text] = shared
	}
	e := entry{made: uint64(b.Prefix.Bits()), expires: toNano(b.Expires), note: shared}
	if !b.Created.IsZero() {
		e.made |= uint64(max(b.Created.UnixMilli(), 1)) << 8
	}
	return e
}

// fresh counts the bans among changes that are of prefixes not banned yet.
func (t *table) fresh(changes []Change) int {
	n := 0
	for _, c := range changes {
		if _, ok := t.get(c.Prefix); !ok && !c.Lift {
			n++
		}
	}
	return n
}

// sweep counts the bans in force, and builds a new table without the expired ones where those are an eighth or more.
// It works on a snapshot: neither readers nor writers wait for it.
func (t *table) sweep() {
	t.sweeping.Lock()
	defer t.sweeping.Unlock()
	t.mu.Lock()
	snapshot, before, resets := t.load(), t.live, t.resets
	missed := []*routes{}
	t.missed = &missed
	t.mu.Unlock()

	live := 0
	for _, e := range snapshot.All() {
		if e.inForce() {
			live++
		}
	}
	var compact *routes
	if dead := snapshot.Size() - live; dead > 0 && dead*8 >= snapshot.Size() {
		compact = new(routes)
		for prefix, e := range snapshot.All() {
			if e.inForce() {
				compact.Insert(prefix, e)
			}
		}
	}

	var quick *index
	if compact != nil {
		quick = newIndex(compact)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	t.missed = nil
	if t.resets != resets { // the list is another one by now, and counted
		return
	}
	t.live += live - before
	if compact == nil {
		return
	}
	for _, delta := range missed {
		compact.Union(delta)
		if quick != nil {
			quick.filter.add(delta)
			quick = quick.room(delta)
			quick.add(delta)
		}
	}
	t.current.Store(&view{compact, quick})
}
