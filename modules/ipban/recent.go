// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
)

// recentBits is how many banned addresses are remembered, as a power of two.
const recentBits = 14

// recent remembers where addresses that are banned were found. Whoever is banned tends to go on, and the routing table of a
// long list takes several looks into memory, which depend on one another.
//
// An address has two places. What is there stays until the list has changed, so that a flood from more addresses than there
// are places neither allocates nor drives out what is remembered.
type recent struct {
	tags [1 << recentBits]atomic.Uint32 // of the hits, so that a place with another address is not looked into
	hits [1 << recentBits]atomic.Pointer[hit]
}

// hit is an address and the ban that was found, while the list is the one of the view.
type hit struct {
	view   *mark
	addr   netip.Addr
	prefix netip.Prefix
	entry
}

// mark tells views apart, and holds no memory of theirs.
type mark struct{ _ byte }

// place is the first place of an address, and its tag. The other place is beside the first.
func place(addr netip.Addr) (at uint64, tag uint32) {
	a := addr.As16()
	sum := (binary.BigEndian.Uint64(a[:8])*golden ^ binary.BigEndian.Uint64(a[8:])) * golden
	return sum >> (64 - recentBits), uint32(sum >> (32 - recentBits))
}

// find returns what was found for an address, unless the list has changed since then.
func (r *recent) find(addr netip.Addr, view *mark) *hit {
	at, tag := place(addr)
	for range 2 {
		if r.tags[at].Load() == tag {
			if h := r.hits[at].Load(); h != nil && h.addr == addr && h.view == view {
				return h
			}
		}
		at ^= 1
	}
	return nil
}

// add remembers what was found, if there is room. Two that add at once may leave the tag of the one with the hit of the other,
// who is then looked up anew each time, and not found wrongly.
func (r *recent) add(addr netip.Addr, view *mark, prefix netip.Prefix, e entry) {
	at, tag := place(addr)
	for range 2 {
		if old := r.hits[at].Load(); old == nil || old.view != view {
			r.hits[at].Store(&hit{view, addr, prefix, e})
			r.tags[at].Store(tag)
			return
		}
		at ^= 1
	}
}
