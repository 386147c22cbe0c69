// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// The filter never denies what the table holds, however the table came about.
func TestFilterHidesNoBan(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	feed := feedOf(r, 3*indexMin)
	built := map[string]func(*table){
		"at once":    func(tab *table) { tab.replace(feed, noLimit) },
		"in parts":   func(tab *table) { tab.extend(feed[:indexMin/2], noLimit); tab.extend(feed[indexMin/2:], noLimit) },
		"by changes": func(tab *table) { tab.apply(feed[:indexMin+1], noLimit); tab.apply(feed[indexMin+1:], noLimit) },
		"swept": func(tab *table) {
			tab.replace(feed, noLimit)
			for _, c := range feed[:indexMin] {
				tab.apply([]Change{{Ban: c.Ban, Lift: true}}, noLimit)
			}
			tab.sweep()
			tab.apply(feed[:indexMin], noLimit)
		},
	}
	for name, build := range built {
		tab := new(table)
		build(tab)
		if tab.current.Load().index == nil {
			t.Fatalf("%s: no index", name)
		}
		for _, c := range feed {
			if _, _, ok := tab.find(c.Prefix.Addr()); !ok {
				t.Fatalf("%s: %s is not found", name, c.Prefix)
			}
		}
	}
}

func TestFilterKnowsWidePrefixes(t *testing.T) {
	for _, text := range []string{"0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/8", "203.0.112.0/20", "203.0.113.128/25", "::/0", "2001:db8::/47", "2001:db8::/48"} {
		prefix := netip.MustParsePrefix(text)
		of := new(routes)
		of.Insert(prefix, entry{})
		f := new(filter)
		f.add(of)
		r := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			if addr := within(r, prefix); !f.mayHold(addr) {
				t.Fatalf("%s may not hold %s", prefix, addr)
			}
		}
	}
	narrow, of := new(filter), new(routes)
	of.Insert(netip.MustParsePrefix("203.0.113.0/24"), entry{})
	of.Insert(netip.MustParsePrefix("2001:db8::/64"), entry{})
	narrow.add(of)
	for _, text := range []string{"203.0.112.255", "203.0.114.0", "127.0.0.1", "2001:db9::1", "::1"} {
		if narrow.mayHold(netip.MustParseAddr(text)) {
			t.Errorf("%s: the filter lets through everything", text)
		}
	}
}

// within returns an address in the prefix.
func within(r *rand.Rand, prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= byte(r.IntN(2)) << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}
