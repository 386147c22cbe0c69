// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd draws prefixes of all lengths from a small part of the address space, so that they lie within each other.
func crowd(r *rand.Rand) netip.Prefix {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:], r.Uint64())
	binary.BigEndian.PutUint64(a[8:], r.Uint64())
	if r.IntN(2) == 0 {
		a[0], a[1] = 203, byte(r.IntN(4))
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(a[:4])), min(8+r.IntN(40), 32)).Masked()
	}
	copy(a[:], []byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(r.IntN(4)), byte(r.IntN(4))})
	return netip.PrefixFrom(netip.AddrFrom16(a), min(20+r.IntN(120), 128)).Masked()
}

// naive is a list of bans that is searched from end to end.
type naive map[netip.Prefix]Change

func (n naive) find(addr netip.Addr) (longest netip.Prefix, ok bool) {
	for prefix, c := range n {
		inForce := !c.Lift && (c.Expires.IsZero() || c.Expires.After(time.Now()))
		if inForce && prefix.Contains(addr) && (!ok || prefix.Bits() > longest.Bits()) {
			longest, ok = prefix, true
		}
	}
	return longest, ok
}

// Through all that happens to a list, the index finds what a search from end to end does.
func TestIndexFindsWhatASearchDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		tab, model := new(table), naive{}
		tab.keepTime()
		var feed []Change
		for len(model) < indexMin+100 {
			c := Change{Ban: newBan(crowd(r), time.Now(), time.Duration(r.IntN(3))*time.Hour, "", "")}
			model[c.Prefix] = c
			feed = append(feed, c)
		}
		tab.replace(feed, noLimit)
		hits := 0
		for step := range 60 {
			var changes []Change
			for range r.IntN(100) {
				c := Change{Ban: newBan(crowd(r), time.Now(), time.Duration(r.IntN(300))*time.Minute, "", "")}
				if r.IntN(3) == 0 {
					c.Ban, c.Lift = Ban{Prefix: feed[r.IntN(len(feed))].Prefix}, true
				}
				changes = append(changes, c)
				model[c.Prefix] = c
			}
			tab.apply(changes, noLimit)
			switch step % 20 {
			case 7:
				time.Sleep(10 * time.Minute)
				tab.keepTime()
			case 13:
				tab.sweep()
			case 19: // half of all there is
				change := ban("128.0.0.0/1", time.Minute)
				tab.apply([]Change{change}, noLimit)
				model[change.Prefix] = change
			}
			for range 40 {
				addr := within(r, crowd(r))
				if r.IntN(2) == 0 {
					addr = within(r, feed[r.IntN(len(feed))].Prefix)
				}
				want, banned := model.find(addr)
				if prefix, e, ok := tab.find(addr); ok != banned || ok && (prefix != want || e.ban(prefix).Expires != model[want].Expires) {
					t.Fatalf("step %d: %s is banned by %s (%v), want %s (%v)", step, addr, prefix, ok, want, banned)
				}
				if banned {
					hits++
				}
			}
		}
		if x := tab.current.Load().index; x == nil || hits < 100 {
			t.Fatalf("index %v, %d hits: that shows little", x != nil, hits)
		}
	})
}

// Changes that are made together are seen together: an address that one ban covers until another does is banned all the time.
func TestIndexChangesAtOnce(t *testing.T) {
	tab := new(table)
	tab.replace(feedOf(rand.New(rand.NewPCG(7, 8)), 2*indexMin), noLimit)
	wide := []Change{ban("203.0.113.0/24", 0), lift(someone + "/32")}
	narrow := []Change{lift("203.0.113.0/24"), ban(someone+"/32", 0)}
	tab.apply(narrow, noLimit)
	before := tab.current.Load().index
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				prefix, e, ok := tab.find(netip.MustParseAddr(someone))
				if !ok || e.note == nil || int(e.made&0xff) != prefix.Bits() {
					t.Errorf("found %s, %+v, %v", prefix, e, ok)
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(9, 10))
	for i := range 300 {
		tab.apply(wide, noLimit)
		tab.apply(narrow, noLimit)
		if i%20 == 0 {
			tab.apply(feedOf(r, 1000), noLimit) // until it has to grow
		}
		if i == 150 {
			tab.sweep()
		}
	}
	close(stop)
	readers.Wait()
	if tab.current.Load().index == before {
		t.Error("the index has not grown")
	}
}

// Lists of one length, of neighbours and of addresses that differ in one bit, find what they hold and nothing else.
func TestIndexOfNeighbours(t *testing.T) {
	of := new(routes)
	for i := range uint32(3 * indexMin) {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)})
		of.Insert(netip.PrefixFrom(addr, 32), entry{made: 32, note: new(note)})
	}
	x := newIndex(of)
	for i := range uint32(6 * indexMin) {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		prefix, _, ok, sure := x.find(addr, 1)
		if ok != (i%2 == 0) || !sure || ok && prefix.Addr() != addr {
			t.Fatalf("%s: %s, %v, %v", addr, prefix, ok, sure)
		}
	}
}

// A ban ends when it ends, whether or not somebody keeps the time.
func TestBanEndsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, kept := range []bool{false, true} {
			for _, lasts := range []time.Duration{time.Second, 2 * sweepInterval, 2*sweepInterval + 1, time.Hour} {
				tab := new(table)
				tab.replace(feedOf(rand.New(rand.NewPCG(7, 8)), 2*indexMin), noLimit)
				began := time.Now()
				prefix := netip.MustParsePrefix("2001:db8:1::/64")
				tab.apply([]Change{{Ban: Ban{Prefix: prefix, Expires: began.Add(lasts)}}}, noLimit)
				for end := began.Add(lasts); time.Now().Before(end); time.Sleep(min(sweepInterval, time.Until(end))) {
					if kept {
						tab.keepTime()
					}
					if found(tab, "2001:db8:1::1") == "" {
						t.Errorf("a ban for %v has ended after %v", lasts, time.Since(began))
					}
				}
				if found(tab, "2001:db8:1::1") != "" {
					t.Errorf("kept %v: a ban for %v has not ended", kept, lasts)
				}
			}
		}
	})
}

// takes is the least time of several in which an index takes in routes that it has.
func takes(x *index, of *routes) time.Duration {
	least := time.Hour
	for range 5 {
		begun := time.Now()
		x.add(of)
		least = min(least, time.Since(begun))
	}
	return least
}

// A list of many short prefixes of IPv6, each of which lies in all regions, does not keep its writer for long.
func TestIndexOfShortPrefixes(t *testing.T) {
	of, narrow := new(routes), new(routes)
	for i := range uint32(2 * indexMin) {
		a := [16]byte{0x20 + byte(i>>13), byte(i >> 5), byte(i << 3)}
		of.Insert(netip.PrefixFrom(netip.AddrFrom16(a), 21), entry{made: 21, note: new(note)})
		narrow.Insert(netip.PrefixFrom(netip.AddrFrom16(a), 48), entry{made: 48, note: new(note)})
	}
	x := newIndex(of)
	if short, long := takes(x, of), takes(newIndex(narrow), narrow); short > 10*long {
		t.Errorf("short prefixes take %v, long ones %v", short, long)
	}
	for i := range uint32(2 * indexMin) {
		a := [16]byte{0x20 + byte(i>>13), byte(i >> 5), byte(i<<3 | 7), 15: byte(i)}
		if prefix, _, ok, sure := x.find(netip.AddrFrom16(a), 1); !ok || !sure || prefix.Bits() != 21 {
			t.Fatalf("%s: %s, %v, %v", netip.AddrFrom16(a), prefix, ok, sure)
		}
	}
}
