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

func client(n uint32) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), 32)
}

func TestStrikesWithinTheWindow(t *testing.T) {
	var s strikes
	start := time.Now()
	who := suspect{"rule", client(1)}
	strike := func(at time.Duration) bool { return s.strike(who, start.Add(at), 3, time.Minute, 100) }
	for i, step := range []struct {
		at   time.Duration
		want bool
	}{
		{0, false},
		{30 * time.Second, false},
		{60 * time.Second, false}, // the first counts no more
		{89 * time.Second, true},
		{89 * time.Second, false}, // begins anew
		{90 * time.Second, false},
		{149 * time.Second, false},
		{149 * time.Second, true},
	} {
		if got := strike(step.at); got != step.want {
			t.Errorf("strike %d at %s: %v, want %v", i+1, step.at, got, step.want)
		}
	}
	if !s.strike(who, start, 1, time.Minute, 100) {
		t.Error("after 1 strike the first is enough")
	}
	if held, _ := s.size(); held != 0 {
		t.Errorf("%d strikes are held, want 0", held)
	}
}

func TestStrikesAreCountedByRuleAndClient(t *testing.T) {
	var s strikes
	for _, who := range []suspect{{"a", client(1)}, {"b", client(1)}, {"a", client(2)}} {
		if s.strike(who, time.Now(), 2, time.Minute, 100) {
			t.Errorf("%v was struck by another's strike", who)
		}
	}
}

// A flood of clients with a strike each takes no more room than the limit, and does not save whoever is near a ban.
func TestStrikesAreBounded(t *testing.T) {
	const limit, flood, near = 1000, 200_000, 50
	var s strikes
	now := time.Now()
	for i := range uint32(near) {
		for range 4 {
			s.strike(suspect{"rule", client(i)}, now, 5, time.Hour, limit)
		}
	}
	for i := range uint32(flood) {
		s.strike(suspect{"rule", client(1000 + i)}, now, 5, time.Hour, limit)
	}
	held, evicted := s.size()
	if held > limit || held < limit/2 || evicted < flood-2*limit {
		t.Errorf("%d strikes are held, %d were dropped", held, evicted)
	}
	banned := 0
	for i := range uint32(near) {
		if s.strike(suspect{"rule", client(i)}, now, 5, time.Hour, limit) {
			banned++
		}
	}
	if banned != near {
		t.Errorf("%d of %d clients that were near a ban are banned", banned, near)
	}
	s.sweep(now.Add(2 * time.Hour))
	if held, _ := s.size(); held != 0 || len(s.of) != 0 {
		t.Errorf("%d strikes of %d clients are held after their time", held, len(s.of))
	}
}

// What is held is what the records hold, whatever happens: the bound rests on it.
func TestStrikesAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s strikes
	now := time.Now()
	for range 100_000 {
		now = now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
		s.strike(suspect{"rule", client(r.Uint32N(50))}, now, 1+r.IntN(20), time.Minute, 1+r.IntN(40))
		sum := 0
		for _, rec := range s.of {
			sum += len(rec.times)
		}
		if held, _ := s.size(); held != sum {
			t.Fatalf("%d strikes are said to be held, and the records hold %d", held, sum)
		}
	}
}

func TestHistoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h history
		change := ban(someone+"/32", time.Hour)
		change.Level, change.Remembered = 2, time.Now().Add(2*time.Hour)
		note := func(c Change) { h.note([]Change{c}, time.Now(), 10) }
		level := func() int { return h.of(change.Prefix, time.Now()).level }
		note(change)
		manual := ban(someone+"/32", 0)
		note(manual)
		if level() != 2 {
			t.Errorf("an operator's ban made the level %d, want 2", level())
		}
		carried := []Change{manual}
		if h.keep(carried, time.Now()); carried[0].Level != 2 || !carried[0].Remembered.Equal(change.Remembered) {
			t.Errorf("an operator's ban is recorded as %+v", carried[0])
		}
		time.Sleep(2 * time.Hour)
		if level() != 0 {
			t.Error("not forgotten when it is time")
		}
		if h.sweep(time.Now()); h.size() != 0 {
			t.Error("not dropped when it is time")
		}
		change.Remembered = time.Now().Add(time.Hour)
		note(change)
		note(lift(someone + "/32"))
		if level() != 0 {
			t.Error("what was lifted counts")
		}
		for i := range uint32(100) {
			c := Change{Ban: Ban{Prefix: client(i), Level: 1, Remembered: time.Now().Add(time.Hour)}}
			note(c)
		}
		if h.size() != 10 {
			t.Errorf("%d clients are remembered, want 10", h.size())
		}
	})
}

func TestOperatorsAreRemembered(t *testing.T) {
	var o operators
	now := time.Now()
	for i := range uint32(2 * maxOperators) {
		o.saw(client(i).Addr(), now.Add(time.Duration(i)))
	}
	if len(o.seen) != maxOperators || o.include(client(0), now) || !o.include(client(2*maxOperators-1), now) {
		t.Errorf("of %d operators %d are remembered, the first: %v, the last: %v", 2*maxOperators, len(o.seen),
			o.include(client(0), now), o.include(client(2*maxOperators-1), now))
	}
	if !o.include(netip.MustParsePrefix("0.0.0.0/24"), now) || o.include(client(2*maxOperators-1), now.Add(2*operatorMemory)) {
		t.Error("a wider prefix does not include an operator, or one is remembered for ever")
	}
}
