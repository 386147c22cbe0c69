// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// What is remembered of a banned address never outlives a change of the list, nor the ban.
func TestRecentForgetsWithTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, feed := new(table), feedOf(rand.New(rand.NewPCG(7, 8)), 2*filterMin)
		tab.replace(feed, noLimit)
		if tab.current.Load().recent == nil {
			t.Fatal("a long list remembers nothing")
		}
		steps := []struct {
			do   func()
			want string
		}{
			{func() {
				tab.apply([]Change{ban(someone+"/32", time.Hour), ban("203.0.113.0/24", 2*time.Hour)}, noLimit)
			}, someone + "/32"},
			{func() { tab.apply([]Change{lift(someone + "/32")}, noLimit) }, "203.0.113.0/24"},
			{func() { tab.apply([]Change{ban(someone+"/32", time.Hour)}, noLimit) }, someone + "/32"},
			{tab.sweep, someone + "/32"},
			{func() { time.Sleep(time.Hour) }, "203.0.113.0/24"},
			{func() { tab.replace(feed, noLimit) }, found(tab, "0.0.0.0")},
		}
		for i, step := range steps {
			step.do()
			for range 3 { // the first look remembers
				if got := found(tab, someone); got != step.want {
					t.Fatalf("step %d: banned by %q, want %q", i, got, step.want)
				}
			}
		}
	})
}

// However many banned addresses come, each is found under its own ban, and once there is no room nothing is allocated.
func TestRecentIsBounded(t *testing.T) {
	tab, feed := new(table), feedOf(rand.New(rand.NewPCG(7, 8)), 3<<recentBits)
	tab.replace(feed, noLimit)
	look := func(addr netip.Addr, want netip.Prefix) {
		if prefix, _, ok := tab.find(addr); !ok || prefix != want && !prefix.Overlaps(want) {
			t.Fatalf("%s is banned by %s (%v), want %s", addr, prefix, ok, want)
		}
	}
	for range 2 {
		for _, c := range feed {
			look(c.Prefix.Addr(), c.Prefix)
		}
	}
	i := 0
	if n := testing.AllocsPerRun(len(feed), func() { c := feed[i%len(feed)]; look(c.Prefix.Addr(), c.Prefix); i++ }); n != 0 {
		t.Errorf("a lookup makes %v allocations", n)
	}
}
