// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func ban(prefix string, d time.Duration) Change {
	return Change{Ban: newBan(netip.MustParsePrefix(prefix), time.Now(), d, sourceManual, "abuse")}
}

func lift(prefix string) Change {
	return Change{Ban: Ban{Prefix: netip.MustParsePrefix(prefix)}, Lift: true}
}

const noLimit = 1 << 30

// found is the prefix that bans an address, or "".
func found(t *table, addr string) string {
	if prefix, _, ok := t.find(netip.MustParseAddr(addr)); ok {
		return prefix.String()
	}
	return ""
}

func TestTableFind(t *testing.T) {
	tab := new(table)
	if got := found(tab, "203.0.113.7"); got != "" {
		t.Fatalf("an empty table bans by %s", got)
	}
	tab.apply([]Change{
		ban("203.0.113.0/24", 0), ban("203.0.113.7/32", 0), ban("2001:db8::/32", 0), ban("2001:db8:0:1::/64", 0), ban("198.51.0.0/16", 0),
	}, noLimit)
	for addr, want := range map[string]string{
		"203.0.113.7":     "203.0.113.7/32",
		"203.0.113.8":     "203.0.113.0/24",
		"203.0.114.7":     "",
		"198.51.255.255":  "198.51.0.0/16",
		"198.52.0.0":      "",
		"2001:db8::1":     "2001:db8::/32",
		"2001:db8:0:1::1": "2001:db8:0:1::/64",
		"2001:db9::1":     "",
	} {
		if got := found(tab, addr); got != want {
			t.Errorf("%s: banned by %q, want %q", addr, got, want)
		}
	}
}

// An inner ban that ended must not let through whom a wider one still bans.
func TestTableEndedBanHidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := new(table)
		tab.apply([]Change{
			ban("203.0.0.0/16", 3*time.Hour), ban("203.0.113.0/24", 2*time.Hour), ban("203.0.113.0/28", time.Minute), ban("203.0.113.7/32", time.Hour),
		}, noLimit)
		steps := []struct {
			do   func()
			want string
		}{
			{func() {}, "203.0.113.7/32"},
			{func() { tab.apply([]Change{lift("203.0.113.7/32")}, noLimit) }, "203.0.113.0/28"},
			{func() { tab.apply([]Change{ban("203.0.113.7/32", time.Hour)}, noLimit) }, "203.0.113.7/32"},
			{func() { time.Sleep(time.Hour) }, "203.0.113.0/24"},
			{tab.sweep, "203.0.113.0/24"},
			{func() { time.Sleep(time.Hour) }, "203.0.0.0/16"},
			{func() { time.Sleep(time.Hour) }, ""},
			{tab.sweep, ""},
		}
		for i, step := range steps {
			if step.do(); found(tab, "203.0.113.7") != step.want {
				t.Fatalf("step %d: banned by %q, want %q", i, found(tab, "203.0.113.7"), step.want)
			}
		}
		if n := tab.load().Size(); n != 0 || tab.count() != 0 {
			t.Fatalf("%d entries and a count of %d are left", n, tab.count())
		}
	})
}

// What is further away than the entry can hold is still in force.
func TestTableHoldsAnyTime(t *testing.T) {
	for _, expires := range []time.Time{
		time.Now().Add(260 * 365 * 24 * time.Hour), time.Date(2262, 4, 11, 23, 47, 17, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		tab := new(table)
		c := ban(someone+"/32", time.Hour)
		c.Expires = expires
		if tab.apply([]Change{c}, noLimit); found(tab, someone) == "" {
			t.Errorf("a ban until %v is not in force", expires)
		}
	}
	for _, past := range []time.Time{time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)} {
		tab := new(table)
		c := ban(someone+"/32", time.Hour)
		c.Expires = past
		if tab.apply([]Change{c}, noLimit); found(tab, someone) != "" {
			t.Errorf("a ban until %v is in force", past)
		}
	}
}

func TestTableLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := new(table)
		changes := []Change{ban("203.0.113.1/32", time.Hour), ban("203.0.113.2/32", 0), ban("203.0.113.3/32", 0)}
		if n := tab.apply(changes, 2); n != 1 || tab.count() != 2 || found(tab, "203.0.113.3") != "" {
			t.Fatalf("dropped %d, holds %d", n, tab.count())
		}
		if n := tab.apply([]Change{ban("203.0.113.1/32", time.Hour)}, 2); n != 0 {
			t.Fatal("renewing a ban in a full table was refused")
		}
		if n := tab.apply([]Change{lift("203.0.113.2/32"), ban("203.0.113.3/32", 0)}, 2); n != 0 {
			t.Fatal("a lift made no room")
		}
		time.Sleep(time.Hour)
		if tab.sweep(); tab.count() != 1 {
			t.Fatalf("an expired ban is counted: %d", tab.count())
		}
		if n := tab.replace(changes, 1); n != 1 || tab.count() != 1 { // the first has expired by now
			t.Fatalf("the whole list: dropped %d, holds %d", n, tab.count())
		}
	})
}

func TestTablePages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := new(table)
		want := []string{"10.0.0.0/8", "10.0.0.0/9", "10.0.0.1/32", "10.128.0.0/9", "203.0.113.7/32", "::/0", "2001:db8::/32"}
		for _, p := range want {
			tab.apply([]Change{ban(p, 0)}, noLimit)
		}
		tab.apply([]Change{ban("10.0.0.2/32", time.Minute), ban("10.0.0.3/32", 0), lift("10.0.0.3/32")}, noLimit)
		time.Sleep(time.Minute)
		for _, limit := range []int{1, 2, 3, len(want), len(want) + 1} {
			var got []string
			for after, more := (netip.Prefix{}), true; more; {
				var page []Ban
				page, more = tab.page(after, limit)
				if len(page) > limit || more && len(page) < limit {
					t.Fatalf("a page of %d bans, want %d", len(page), limit)
				}
				for _, b := range page {
					got = append(got, b.Prefix.String())
				}
				after = page[len(page)-1].Prefix
			}
			if !slices.Equal(got, want) {
				t.Errorf("pages of %d: got %v, want %v", limit, got, want)
			}
		}
	})
}

// randomPrefix draws from few prefixes, so that they often meet and cover one another.
func randomPrefix(r *rand.Rand) netip.Prefix {
	addr := netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(16))})
	if r.IntN(4) == 0 {
		addr = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(r.IntN(16))})
	}
	return netip.PrefixFrom(addr, addr.BitLen()-r.IntN(12)).Masked()
}

// The table must say what a plain map says, whatever is done to it and whenever it sweeps.
func TestTableAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			tab, model := new(table), map[netip.Prefix]Ban{}
			for range 300 {
				var changes []Change
				for range 1 + r.IntN(5) {
					c := ban(randomPrefix(r).String(), time.Duration(r.IntN(5))*time.Minute)
					c.Lift = r.IntN(3) == 0
					changes = append(changes, c)
					if delete(model, c.Prefix); !c.Lift {
						model[c.Prefix] = c.Ban
					}
				}
				tab.apply(changes, noLimit)
				switch r.IntN(10) {
				case 0:
					time.Sleep(time.Minute)
				case 1:
					tab.sweep()
				}
				addr := randomPrefix(r).Addr()
				if got, want := found(tab, addr.String()), modelFind(model, addr); got != want {
					t.Fatalf("seed %d: %s is banned by %q, want %q", seed, addr, got, want)
				}
			}
			tab.sweep()
			if want := modelCount(model); tab.count() != want {
				t.Fatalf("seed %d: counts %d bans, want %d", seed, tab.count(), want)
			}
		})
	}
}

func modelFind(model map[netip.Prefix]Ban, addr netip.Addr) string {
	best := netip.Prefix{}
	for p, b := range model {
		if p.Contains(addr) && (b.Expires.IsZero() || b.Expires.After(time.Now())) && (!best.IsValid() || p.Bits() > best.Bits()) {
			best = p
		}
	}
	if !best.IsValid() {
		return ""
	}
	return best.String()
}

func modelCount(model map[netip.Prefix]Ban) (n int) {
	for _, b := range model {
		if b.Expires.IsZero() || b.Expires.After(time.Now()) {
			n++
		}
	}
	return n
}

// Changes that come while a sweep builds the new table must be in it.
func TestTableSweepLosesNothing(t *testing.T) {
	tab := new(table)
	var dead []Change
	for i := range 20_000 { // enough for every sweep to build a table, and to take a while over it
		dead = append(dead, ban(netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + i>>14), byte(i >> 8), byte(i)}), 32).String(), time.Millisecond))
	}
	var running sync.WaitGroup
	stop := make(chan struct{})
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				tab.apply(dead, noLimit)
				tab.sweep()
			}
		}
	})
	for i := range 2000 {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32)
		tab.apply([]Change{{Ban: newBan(prefix, time.Now(), 0, "", "")}}, noLimit)
		if i%2 == 1 {
			tab.apply([]Change{{Ban: Ban{Prefix: prefix}, Lift: true}}, noLimit)
		}
	}
	close(stop)
	running.Wait()
	for i := range 2000 {
		addr := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		if _, _, ok := tab.find(addr); ok != (i%2 == 0) {
			t.Fatalf("%s: banned %v", addr, ok)
		}
	}
}

func TestTableFindDoesNotAllocate(t *testing.T) {
	tab := new(table)
	tab.apply([]Change{ban("203.0.113.0/24", time.Hour), ban("203.0.113.7/32", 0), lift("203.0.113.7/32"), ban("2001:db8::/32", 0)}, noLimit)
	for _, text := range []string{"192.0.2.1", "203.0.113.7", "203.0.113.8", "2001:db8::1", "2001:db9::1"} {
		addr := netip.MustParseAddr(text)
		if n := testing.AllocsPerRun(100, func() { tab.find(addr) }); n != 0 {
			t.Errorf("%s: %g allocations", text, n)
		}
	}
}
