// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

// feedOf returns n bans as they are seen in the wild: mostly single IPv4 addresses, some networks, some IPv6 /64.
func feedOf(r *rand.Rand, n int) []Change {
	changes := make([]Change, n)
	for i := range changes {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:], r.Uint64())
		addr, bits := netip.AddrFrom4([4]byte(a[:4])), 32
		switch r.IntN(10) {
		case 0:
			bits = 24
		case 1:
			a[0], a[1] = 0x20, 0x01
			addr, bits = netip.AddrFrom16(a), 64
		}
		changes[i].Ban = Ban{Prefix: netip.PrefixFrom(addr, bits).Masked(), Source: sourceImport, Created: time.Now()}
	}
	return changes
}

// million is a table of a million bans for good, and of as many for a day.
var million = sync.OnceValues(func() (tables [2]*table, changes []Change) {
	changes = feedOf(rand.New(rand.NewPCG(1, 2)), 1_000_000)
	for i, lasts := range []time.Duration{0, 24 * time.Hour} {
		tables[i] = new(table)
		tables[i].keepTime() // as each minute while a config runs
		for j := range changes {
			changes[j].Expires = time.Time{}
			if lasts > 0 {
				changes[j].Expires = changes[j].Created.Add(lasts)
			}
		}
		tables[i].replace(changes, noLimit)
	}
	return tables, changes
})

// BenchmarkFind looks up addresses in a table of a million prefixes: of 1,000 clients, as a proxy has at a time, and of
// 65,536, which no processor keeps in its nearest cache. Beside it, what the routing table alone takes to say yes or no, and
// the floor: one read for each client from an array as large as the index, alone and as a chain in which each waits for the
// one before; and the clock, which a ban that ends has to be compared with.
func BenchmarkFind(b *testing.B) {
	tables, changes := million()
	r := rand.New(rand.NewPCG(3, 4))
	for _, clients := range []int{1 << 10, 1 << 16} {
		addrs := make([]netip.Addr, clients)
		look := func(name, how string, find func(netip.Addr)) {
			b.Run(fmt.Sprintf("%s/clients=%d/%s", name, clients, how), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					find(addrs[i&(clients-1)])
					i++
				}
			})
		}
		run := func(name string, tab *table, pick func() netip.Addr) {
			for i := range addrs {
				addrs[i] = pick()
			}
			look(name, "table", func(addr netip.Addr) { tab.find(addr) })
			look(name, "bart_alone", func(addr netip.Addr) { tab.load().Contains(addr) })
		}
		run("passed", tables[0], func() netip.Addr {
			return netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
		})
		one := func() netip.Addr { return changes[r.IntN(len(changes))].Prefix.Addr() }
		run("banned", tables[0], one)
		run("banned_for_a_day", tables[1], one)
		floor(b, r, clients)
	}
	b.Run("floor/clock", func(b *testing.B) {
		for b.Loop() {
			_ = time.Now().UnixNano()
		}
	})
}

// floor reads an array of 64 MiB at as many places as there are clients.
func floor(b *testing.B, r *rand.Rand, clients int) {
	array, places := make([]uint64, 8<<20), make([]uint64, clients)
	for i := range array {
		array[i] = 1 // which has the system give the memory
	}
	stretch := uint64(len(array) / clients)
	for i, at := range r.Perm(clients) { // no place comes twice
		places[i] = uint64(at)*stretch + r.Uint64N(stretch)
	}
	for i, place := range places {
		array[place] = places[(i+1)%clients]
	}
	b.Run(fmt.Sprintf("floor/clients=%d/read", clients), func(b *testing.B) {
		i, sum := 0, uint64(0)
		for b.Loop() {
			sum += array[places[i&(clients-1)]]
			i++
		}
		runtime.KeepAlive(sum)
	})
	b.Run(fmt.Sprintf("floor/clients=%d/read_of_a_chain", clients), func(b *testing.B) {
		at := places[0]
		for b.Loop() {
			at = array[at]
		}
		runtime.KeepAlive(at)
	})
}

// BenchmarkApply changes a table of a million prefixes.
func BenchmarkApply(b *testing.B) {
	tables, _ := million()
	tab, r := tables[0], rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("changes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				changes := feedOf(r, n)
				b.StartTimer()
				tab.apply(changes, noLimit)
			}
		})
	}
}

// BenchmarkReplace takes in a whole list, and says what a prefix costs in memory.
func BenchmarkReplace(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("bans=%d", n), func(b *testing.B) {
			changes := feedOf(rand.New(rand.NewPCG(1, 2)), n)
			var before, after runtime.MemStats
			for b.Loop() {
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&before)
				tab := new(table)
				b.StartTimer()
				tab.replace(changes, noLimit)
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				runtime.KeepAlive(tab)
				b.StartTimer()
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/ban")
		})
	}
}
