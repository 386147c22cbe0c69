// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"
	"sync/atomic"
)

const (
	// filterBits is how many bits of an address, or of its hash, choose a bit: 2 MiB for each family.
	filterBits = 24
	// filter6 is how much of an IPv6 address is hashed.
	filter6 = 48
	// golden spreads neighbouring networks: 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming,
	// volume 3, section 6.4).
	golden = 0x9e3779b97f4a7c15
)

// filter answers for most addresses that no ban can cover them, with one look into memory, where the routing table of a
// long list takes several that depend on one another and none of which is in the processor's cache. It has a bit for each
// /24 of IPv4, and for each hash of a /48 of IPv6; a bit that is set promises nothing.
//
// Bits are set while it is being read, and never cleared: a sweep makes a new one.
type filter struct {
	v4, v6 [1 << filterBits / 64]uint64
	wide6  atomic.Bool // a prefix shorter than filter6 is there: it has too many hashes
}

// add sets the bits of all prefixes of a table.
func (f *filter) add(of *routes) {
	for prefix := range of.All() {
		switch {
		case prefix.Addr().Is4():
			first := slot4(prefix.Addr())
			last := first | uint32(1<<max(filterBits-prefix.Bits(), 0)-1)
			f.setRange(first, last)
		case prefix.Bits() < filter6:
			f.wide6.Store(true)
		default:
			slot := slot6(prefix.Addr())
			atomic.OrUint64(&f.v6[slot/64], 1<<(slot%64))
		}
	}
}

// setRange sets the bits of IPv4 from first to last, word by word where it can.
func (f *filter) setRange(first, last uint32) {
	for slot := first; slot <= last; {
		if slot%64 == 0 && last-slot >= 63 {
			atomic.StoreUint64(&f.v4[slot/64], ^uint64(0))
			slot += 64
			continue
		}
		atomic.OrUint64(&f.v4[slot/64], 1<<(slot%64))
		slot++
	}
}

// mayHold reports whether a ban may cover the address.
func (f *filter) mayHold(addr netip.Addr) bool {
	if addr.Is4() {
		slot := slot4(addr)
		return atomic.LoadUint64(&f.v4[slot/64])>>(slot%64)&1 != 0
	}
	if f.wide6.Load() {
		return true
	}
	slot := slot6(addr)
	return atomic.LoadUint64(&f.v6[slot/64])>>(slot%64)&1 != 0
}

// slot4 is the /24 of an IPv4 address.
func slot4(addr netip.Addr) uint32 {
	return word4(addr) >> (32 - filterBits)
}

// slot6 is the hash of an IPv6 address's /48.
func slot6(addr netip.Addr) uint32 {
	return uint32(word6(addr) >> (64 - filter6) * golden >> (64 - filterBits))
}
