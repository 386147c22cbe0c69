// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
)

const (
	// indexMin is how many prefixes a table has that is worth an index: a shorter one stays in the processor's cache.
	indexMin = 4096
	// shortest and longest are the lengths of prefixes that have slots. A table with shorter ones, halves of all there is, is
	// not looked up in the index; of longer ones, which only IPv6 has, the index knows in which /64 they are.
	shortest, longest = 2, 64
	// deeper stands for the length of what is longer.
	deeper = longest + 1
	// regionBits are how many bits of an address, or of its hash, choose its region; of IPv6, region6 are hashed.
	regionBits, region6 = 15, 32
	// bucketSlots is how many slots a bucket has: two lines of the processor's cache, which are read at once.
	bucketSlots = 4
	// taken marks a slot that holds a prefix.
	taken = 1 << 63
)

// index finds the ban of an address with one look into far memory, where the routing table of a long list takes several of which
// each has to wait for the one before. It is a hash table of all prefixes, with what is known of a ban beside its prefix. An
// address is looked up under each length that prefixes of its region have, the longest first.
//
// What counts is that no branch of the usual way goes now here, now there by what is read: a processor that guesses wrong stands
// still until the memory has answered, and one that guesses right has begun with the next request by then. So a bucket is
// compared as a whole, and without branches.
//
// Readers take no lock and never wait: while the index is being changed, or where it has been while they looked, they ask the
// routes of their view, which do not change. Nothing is deleted from it.
type index struct {
	filter  *filter
	changes atomic.Uint64 // begun and ended: odd while one goes on
	halves  atomic.Bool   // a prefix is there that is shorter than shortest
	v4, v6  shelf
}

// shelf is the part of an index for one family of addresses.
type shelf struct {
	buckets []bucket
	used    int
	room    int       // how many prefixes there may be
	seed    [2]uint64 // nobody can choose prefixes that meet
	lengths *[1 << regionBits]atomic.Uint64
}

// bucket has slots, of which those that are taken come first. One that is full is continued by the next.
type bucket [bucketSlots]slot

// slot is a prefix and its ban: half a line of the processor's cache.
type slot struct {
	key     atomic.Uint64 // the prefix's address; of IPv6, its first half
	made    atomic.Uint64 // as in entry, with the bit taken
	expires atomic.Int64
	note    atomic.Pointer[note]
}

// newIndex makes the index of a table, or none if it is short.
func newIndex(of *routes) *index {
	if of.Size() < indexMin {
		return nil
	}
	x := &index{filter: new(filter), v4: newShelf(of.Size4()), v6: newShelf(of.Size6())}
	x.filter.add(of)
	x.add(of)
	return x
}

// newShelf has room for n prefixes, and for a quarter more.
func newShelf(n int) shelf {
	n += n/4 + 2*bucketSlots
	return shelf{
		buckets: make([]bucket, n/5*2+2), // no more than five prefixes for two buckets: few have more than they have slots
		room:    n,
		seed:    [2]uint64{rand.Uint64(), rand.Uint64() | 1},
		lengths: new([1 << regionBits]atomic.Uint64),
	}
}

// room returns the index, or a copy that is larger, if the routes do not fit in.
func (x *index) room(added *routes) *index {
	if x.v4.fits(added.Size4()) && x.v6.fits(added.Size6()) {
		return x
	}
	grown := &index{filter: x.filter, v4: x.v4.grown(added.Size4()), v6: x.v6.grown(added.Size6())}
	grown.halves.Store(x.halves.Load())
	return grown
}

// change adds routes to an index that is being read. publish is called within, and makes readers see the same in the routes.
func (x *index) change(added *routes, publish func()) {
	x.changes.Add(1)
	defer x.changes.Add(1)
	publish()
	x.add(added)
}

// add puts routes in. The filter has to know them before the routes are seen: from the filter alone an address may pass.
func (x *index) add(added *routes) {
	for prefix, e := range added.All4() {
		if prefix.Bits() < shortest {
			x.halves.Store(true)
			continue
		}
		key := uint64(word4(prefix.Addr()))
		x.v4.put(key, prefix.Bits(), e)
		first := key >> (32 - regionBits)
		x.v4.mark(first, first+1<<max(regionBits-prefix.Bits(), 0), prefix.Bits())
	}
	for prefix, e := range added.All6() {
		if prefix.Bits() < shortest {
			x.halves.Store(true)
			continue
		}
		key, length := word6(prefix.Addr()), min(prefix.Bits(), deeper)
		x.v6.put(key, length, e)
		if prefix.Bits() < region6 {
			x.v6.mark(0, 1<<regionBits, length)
		} else {
			x.v6.mark(regionOf6(key), regionOf6(key)+1, length)
		}
	}
}

// find returns the longest ban in force that covers addr, unless it is not sure: then the routes have to be asked. lasting is as
// in table.
func (x *index) find(addr netip.Addr, lasting int64) (prefix netip.Prefix, e entry, ok, sure bool) {
	before := x.changes.Load()
	if before%2 != 0 || x.halves.Load() {
		return netip.Prefix{}, entry{}, false, false
	}
	if addr.Is4() {
		prefix, e, ok, sure = x.find4(word4(addr), lasting)
	} else {
		prefix, e, ok, sure = x.find6(word6(addr), lasting)
	}
	return prefix, e, ok, sure && x.changes.Load() == before
}

func (x *index) find4(addr uint32, lasting int64) (prefix netip.Prefix, e entry, ok, sure bool) {
	for set := x.v4.lengths[addr>>(32-regionBits)].Load(); set != 0; {
		length := bits.Len64(set) - 1 + shortest
		set &^= 1 << (length - shortest)
		key := addr &^ (1<<(32-length) - 1)
		found := x.v4.seek(uint64(key), length)
		if found == nil {
			continue
		}
		if e = found.entry(); e.expires > lasting || e.inForce() {
			a := [4]byte{byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)}
			return netip.PrefixFrom(netip.AddrFrom4(a), length), e, true, true
		}
	}
	return netip.Prefix{}, entry{}, false, true
}

func (x *index) find6(addr uint64, lasting int64) (prefix netip.Prefix, e entry, ok, sure bool) {
	for set := x.v6.lengths[regionOf6(addr)].Load(); set != 0; {
		length := bits.Len64(set) - 1 + shortest
		set &^= 1 << (length - shortest)
		key := addr &^ (1<<max(longest-length, 0) - 1)
		found := x.v6.seek(key, length)
		if found == nil {
			continue
		}
		if length == deeper {
			return netip.Prefix{}, entry{}, false, false
		}
		if e = found.entry(); e.expires > lasting || e.inForce() {
			var a [16]byte
			binary.BigEndian.PutUint64(a[:], key)
			return netip.PrefixFrom(netip.AddrFrom16(a), length), e, true, true
		}
	}
	return netip.Prefix{}, entry{}, false, true
}

// fits reports whether there is room for n more prefixes.
func (s *shelf) fits(n int) bool { return s.used+n <= s.room }

// grown copies the shelf into a larger one, with room for n more.
func (s *shelf) grown(n int) shelf {
	larger := newShelf(s.used + n)
	larger.lengths = s.lengths
	for i := range s.buckets {
		for j := range s.buckets[i] {
			if from := &s.buckets[i][j]; from.made.Load() != 0 {
				e := from.entry()
				larger.put(from.key.Load(), int(e.made&0xff), e)
			}
		}
	}
	return larger
}

// mark notes that prefixes of a length are in the regions from first to last, without that.
func (s *shelf) mark(first, last uint64, length int) {
	bit := uint64(1) << (length - shortest)
	if last-first == 1<<regionBits && s.lengths[first].Load()&bit != 0 {
		return // a length that one prefix is in all regions with, every prefix is: lists of networks have thousands of such
	}
	for region := first; region < last; region++ {
		if s.lengths[region].Load()&bit == 0 {
			s.lengths[region].Or(bit)
		}
	}
}

// first is the bucket where the search for a prefix begins.
func (s *shelf) first(key uint64, length int) uint64 {
	high, low := bits.Mul64(key^s.seed[0], s.seed[1]+uint64(length)*golden)
	at, _ := bits.Mul64(high^low, uint64(len(s.buckets)))
	return at
}

// seek returns the slot of a prefix, or nil.
func (s *shelf) seek(key uint64, length int) *slot {
	for at := s.first(key, length); ; {
		b := &s.buckets[at]
		n := b[0].is(key, length)&1 | b[1].is(key, length)&2 | b[2].is(key, length)&3 | b[3].is(key, length)&4 // its number, from 1
		if n != 0 {
			return &b[(n-1)%bucketSlots]
		}
		if b[bucketSlots-1].made.Load() == 0 {
			return nil
		}
		if at++; at == uint64(len(s.buckets)) {
			at = 0
		}
	}
}

// put sets the ban of a prefix.
func (s *shelf) put(key uint64, length int, e entry) {
	e.made = e.made&^0xff | uint64(length) | taken
	to := s.seek(key, length)
	if to == nil {
		to = s.free(key, length)
		s.used++
	}
	to.key.Store(key)
	to.made.Store(e.made)
	to.expires.Store(e.expires)
	to.note.Store(e.note)
}

// free returns the slot for a prefix that has none.
func (s *shelf) free(key uint64, length int) *slot {
	for at := s.first(key, length); ; {
		for i := range s.buckets[at] {
			if to := &s.buckets[at][i]; to.made.Load() == 0 {
				return to
			}
		}
		if at++; at == uint64(len(s.buckets)) {
			at = 0
		}
	}
}

// is returns all ones if the slot is the prefix's, else 0, without a branch.
func (s *slot) is(key uint64, length int) uint64 {
	other := (s.key.Load() ^ key) | (s.made.Load()&(taken|0xff) ^ (taken | uint64(length)))
	return ((other | -other) >> 63) - 1
}

// entry reads what the slot holds.
func (s *slot) entry() entry {
	return entry{made: s.made.Load() &^ taken, expires: s.expires.Load(), note: s.note.Load()}
}

func word4(addr netip.Addr) uint32 {
	a := addr.As4()
	return binary.BigEndian.Uint32(a[:])
}

func word6(addr netip.Addr) uint64 {
	a := addr.As16()
	return binary.BigEndian.Uint64(a[:])
}

func regionOf6(addr uint64) uint64 { return addr >> (64 - region6) * golden >> (64 - regionBits) }
