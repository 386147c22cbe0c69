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

var million = sync.OnceValues(func() (*table, []Change) {
	tab, changes := new(table), feedOf(rand.New(rand.NewPCG(1, 2)), 1_000_000)
	tab.replace(changes, noLimit)
	return tab, changes
})

// BenchmarkFind looks up addresses in a table of a million prefixes: of 1,000 clients, as a proxy has at a time, and of
// 65,536, which no processor keeps in its cache. Beside it, what the routing table alone takes to say yes or no.
func BenchmarkFind(b *testing.B) {
	tab, changes := million()
	r := rand.New(rand.NewPCG(3, 4))
	for _, clients := range []int{1 << 10, 1 << 16} {
		addrs := make([]netip.Addr, clients)
		run := func(name string, pick func() netip.Addr) {
			for i := range addrs {
				addrs[i] = pick()
			}
			look := func(how string, find func(netip.Addr)) {
				b.Run(fmt.Sprintf("%s/clients=%d/%s", name, clients, how), func(b *testing.B) {
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						find(addrs[i&(clients-1)])
						i++
					}
				})
			}
			look("table", func(addr netip.Addr) { tab.find(addr) })
			look("bart_alone", func(addr netip.Addr) { tab.load().Contains(addr) })
		}
		run("passed", func() netip.Addr {
			return netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
		})
		run("banned", func() netip.Addr { return changes[r.IntN(len(changes))].Prefix.Addr() })
	}
}

// BenchmarkApply changes a table of a million prefixes.
func BenchmarkApply(b *testing.B) {
	tab, _ := million()
	r := rand.New(rand.NewPCG(5, 6))
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
