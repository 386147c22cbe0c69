// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// from is a request of a client.
func from(addr string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1).String()
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), &caddyhttp.Server{})
}

// newStriker returns a striker of an app on a fake store, which holds room for a hundred bans.
func newStriker(t *testing.T, store *fakeStore, l *list, logger *zap.Logger, rule Rule, dry bool) *Striker {
	a := newApp(t, store, l, logger)
	a.MaxBans, a.source.limit, a.MaxStrikes = 100, 100, 1000
	return &Striker{
		app: a, rule: rule, policy: "logins", key: "logins " + rule.String(), reason: "guessing", dry: dry,
		counts: strikeCounters("test"), logger: logger,
	}
}

var escalating = Rule{After: 3, In: 10 * minute, For: hour, Escalate: 4, Longest: day, Forget: 7 * day}

// strikes reports n strikes of a client and returns how many banned it.
func (s *Striker) strikes(addr string, n int) (bans int) {
	for range n {
		if s.Strike(from(addr)) {
			bans++
		}
	}
	return bans
}

func TestStrikesBanAtOnceAndEscalate(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, logs *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := newStriker(t, store, l, logger, escalating, false)
		l.mu.Lock()
		l.position = 100 // whatever is put is in force
		l.mu.Unlock()
		if s.strikes(someone, 2) != 0 || l.bans(someone) {
			t.Fatal("banned too early")
		}
		for level, lasts := range []time.Duration{time.Hour, 4 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
			n := 3
			if level == 0 {
				n = 1 // the third
			}
			if s.strikes(someone, n) != 1 || !l.bans(someone) {
				t.Fatalf("ban %d was not made", level+1)
			}
			if s.strikes(someone, 10) != 0 {
				t.Fatal("banned twice")
			}
			synctest.Wait()
			store.mu.Lock()
			told := store.put[len(store.put)-1]
			store.mu.Unlock()
			if told.Level != level+1 || told.Expires.Sub(told.Created) != lasts || told.Source != "logins" || told.Reason != "guessing" ||
				told.Remembered.Sub(told.Expires) != 7*24*time.Hour {
				t.Fatalf("ban %d: the store is told %+v", level+1, told.Ban)
			}
			time.Sleep(lasts)
			if l.bans(someone) {
				t.Fatalf("ban %d lasts too long", level+1)
			}
		}
		time.Sleep(7 * 24 * time.Hour)
		s.strikes(someone, 3)
		if _, e, _ := l.table.find(netip.MustParseAddr(someone)); time.Until(e.ban(netip.Prefix{}).Expires).Round(time.Minute) != time.Hour {
			t.Errorf("what should be forgotten made the ban longer: until %s", e.ban(netip.Prefix{}).Expires)
		}
		if n := logs.FilterMessage("a rule banned a client").Len(); n != 6 {
			t.Errorf("%d lines in the log, want 6", n)
		}
	})
}

// While the store is away a rule's bans are in force here, outlive the list that the store then delivers, and reach it.
func TestBansOfRulesWaitForTheStore(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := newStriker(t, store, l, logger, escalating, false)
		store.mu.Lock()
		store.refuses = errors.New("away")
		store.mu.Unlock()
		store.broken <- errors.New("connection reset")
		if s.strikes(someone, 3) != 1 || !l.bans(someone) {
			t.Fatal("not banned while the store is away")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.unrecorded() != 1 {
			t.Fatalf("%d bans wait for the store, want 1", l.unrecorded())
		}
		store.mu.Lock()
		store.refuses, store.put = nil, nil
		store.mu.Unlock()
		time.Sleep(maxRetry)
		synctest.Wait()
		store.deliver(Update{Reset: true, Position: 0})
		if !l.bans(someone) {
			t.Fatal("the store's list, which does not have the ban yet, lifted it")
		}
		time.Sleep(putTimeout + maxRetry)
		synctest.Wait()
		store.mu.Lock()
		told := len(store.put)
		store.mu.Unlock()
		if told == 0 {
			t.Fatal("the store was never told")
		}
		store.deliver(Update{Changes: store.put[:1], Position: 100})
		time.Sleep(putTimeout + maxRetry)
		synctest.Wait()
		if l.unrecorded() != 0 || !l.bans(someone) {
			t.Fatalf("%d bans wait, banned %v", l.unrecorded(), l.bans(someone))
		}
	})
}

// What another proxy banned makes the next ban here longer, also if this proxy starts later, and what is lifted is forgotten.
func TestHistoryIsShared(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := newStriker(t, store, l, logger, escalating, false)
		over := ban(someone+"/32", 0)
		over.Expires, over.Level, over.Remembered = time.Now().Add(-time.Minute), 2, time.Now().Add(time.Hour)
		for i, deliver := range []func(){
			func() { store.deliver(Update{Changes: []Change{over}, Position: 100}) },
			func() { store.deliver(Update{Reset: true, Changes: []Change{over}, Position: 100}) },
			func() {
				store.deliver(Update{Reset: true, More: true, Changes: []Change{over}})
				store.deliver(Update{Position: 100})
			},
		} {
			deliver()
			if l.bans(someone) {
				t.Fatal("a ban that is over is in force")
			}
			s.strikes(someone, 3)
			if _, e, _ := l.table.find(netip.MustParseAddr(someone)); e.note.level != 3 {
				t.Errorf("case %d: the ban is the client's number %d, want 3", i, e.note.level)
			}
			synctest.Wait()
			store.deliver(Update{Changes: []Change{lift(someone + "/32")}, Position: 200})
			s.strikes(someone, 3)
			if _, e, _ := l.table.find(netip.MustParseAddr(someone)); e.note.level != 1 {
				t.Errorf("case %d: after a lift the ban is number %d, want 1", i, e.note.level)
			}
			synctest.Wait()
			store.deliver(Update{Reset: true, Position: 300})
			l.cancel([]Change{lift(someone + "/32")})
			store.deliver(Update{Reset: true, Position: 300})
		}
	})
}

func TestNeverBannedByARule(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		s := newStriker(t, &fakeStore{}, l, logger, escalating, false)
		s.app.allowed = allowList([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
		l.operator.saw(netip.MustParseAddr("192.0.2.1"), time.Now())
		l.operator.saw(netip.MustParseAddr("2001:db8::7"), time.Now())
		for _, addr := range []string{"127.0.0.1", "::1", "10.1.2.3", "192.0.2.1", "2001:db8::1"} {
			if s.strikes(addr, 10) != 0 || l.bans(addr) {
				t.Errorf("%s was banned", addr)
			}
		}
		proxy := from("192.0.2.10")
		caddyhttp.SetVar(proxy.Context(), caddyhttp.TrustedProxyVarKey, true)
		for range 10 {
			if s.Strike(proxy) {
				t.Error("a trusted proxy was banned")
			}
		}
		if s.strikes("192.0.2.10", 3) != 1 { // the same address, not trusted
			t.Error("the control was not banned")
		}
	})
}

func TestDryRunListsWhatWouldBeBanned(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, logs *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := newStriker(t, store, l, logger, escalating, true)
		if s.strikes(someone, 10) != 1 || l.bans(someone) {
			t.Fatal("a dry run bans")
		}
		time.Sleep(time.Hour)
		s.strikes(someone, 10)
		synctest.Wait()
		would, _ := l.dry.table.page(netip.Prefix{}, 10)
		if len(would) != 1 || would[0].Level != 2 || would[0].Expires.Sub(would[0].Created) != 4*time.Hour {
			t.Errorf("listed %+v", would)
		}
		if len(store.put) != 0 || logs.FilterMessage("a rule would have banned a client, but for dry_run").Len() != 2 {
			t.Errorf("the store was told %v, logged %v", store.put, logs.All())
		}
	})
}

func TestStrikesKeepToMaxBans(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		s := newStriker(t, &fakeStore{}, l, logger, escalating, false)
		banned := 0
		for i := range uint32(200) {
			banned += s.strikes(client(0xc6336400+i).Addr().String(), 3)
		}
		if banned != 100 || l.table.count() != 100 {
			t.Errorf("%d clients were banned and %d are, want 100", banned, l.table.count())
		}
	})
}

func TestPendingBansAreBounded(t *testing.T) {
	p := pending{wake: make(chan struct{}, 1)}
	for i := range uint32(maxUnrecorded) {
		p.add(Ban{Prefix: client(i)})
	}
	if p.add(Ban{Prefix: client(maxUnrecorded)}) || len(p.bans) != maxUnrecorded {
		t.Errorf("%d bans wait", len(p.bans))
	}
}

func BenchmarkStrike(b *testing.B) {
	l := newList("bench")
	a := &App{MaxBans: noLimit, MaxStrikes: defaultMaxStrikes, IPv6Prefix: 64, list: l, allowed: allowList(nil)}
	rule := Rule{After: maxAfter, In: caddy.Duration(time.Second), For: hour}
	s := &Striker{app: a, rule: rule, policy: "bench", counts: strikeCounters("bench"), logger: zap.NewNop()}
	for name, clients := range map[string]int{"one client": 1, "a flood": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r, i := from(someone), uint32(0)
			for b.Loop() {
				i++
				s.decide(r, client(0xc0000000+i%uint32(clients)).Addr(), time.Now())
			}
		})
	}
}

// Ten thousand forged addresses of one peer that is no proxy are one client's strikes.
func TestForgedAddressesStrikeOneClient(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		const requests = 9_999
		rule := Rule{After: requests + 1, In: hour, For: hour}
		s := newStriker(t, &fakeStore{}, l, logger, rule, false)
		s.app.MaxStrikes = defaultMaxStrikes
		strike := func(i int) bool {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = someone + ":1"
			r.Header.Set("X-Forwarded-For", netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
			return s.Strike(caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), &caddyhttp.Server{}))
		}
		for i := range requests {
			if strike(i) {
				t.Fatalf("request %d banned", i)
			}
		}
		if len(l.strikes.records) != 1 {
			t.Errorf("%d clients are counted, want one", len(l.strikes.records))
		}
		if !strike(requests) || !l.bans(someone) || l.table.count() != 1 {
			t.Error("the peer is not what was banned")
		}
	})
}
