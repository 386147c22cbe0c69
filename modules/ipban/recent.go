// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
)

// recentBits is how many banned addresses are remembered, as a power of two: 128 KiB of pointers for each list.
const recentBits = 14

// recent remembers where addresses that are banned were found. Whoever is banned tends to go on, and the routing table of a
// long list takes several looks into memory, which depend on one another.
//
// An address has two places. What is there stays until the list has changed, so that a flood from more addresses than there
// are places neither allocates nor drives out what is remembered.
type recent [1 << recentBits]atomic.Pointer[hit]

// hit is an address and the ban that was found, while the list is the one of the view.
type hit struct {
	view   *mark
	addr   netip.Addr
	prefix netip.Prefix
	entry
}

// mark tells views apart, and holds no memory of theirs.
type mark struct{ _ byte }

// place is the first place of an address; the other one is beside it.
func place(addr netip.Addr) uint64 {
	a := addr.As16()
	return ((binary.BigEndian.Uint64(a[:8])*golden ^ binary.BigEndian.Uint64(a[8:])) * golden) >> (64 - recentBits)
}

// find returns what was found for an address, unless the list has changed since then.
func (r *recent) find(addr netip.Addr, view *mark) *hit {
	at := place(addr)
	for range 2 {
		if h := r[at].Load(); h != nil && h.addr == addr && h.view == view {
			return h
		}
		at ^= 1
	}
	return nil
}

// add remembers what was found, if there is room.
func (r *recent) add(addr netip.Addr, view *mark, prefix netip.Prefix, e entry) {
	at := place(addr)
	for range 2 {
		if old := r[at].Load(); old == nil || old.view != view {
			r[at].Store(&hit{view, addr, prefix, e})
			return
		}
		at ^= 1
	}
}
