// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// fakeStore is a store whose feed the test plays.
type fakeStore struct {
	mu      sync.Mutex
	apply   func(Update) // of the running Follow; nil if none runs
	broken  chan error   // ends the running Follow
	started []time.Time  // when Follow was called
	refuses error        // what Follow and Put return at once
	deaf    bool         // Follow ignores the end of its context
	put     []Change
}

func (s *fakeStore) Put(_ context.Context, changes []Change) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put = append(s.put, changes...)
	return uint64(len(s.put)), s.refuses
}

func (s *fakeStore) Follow(ctx context.Context, apply func(Update)) error {
	s.mu.Lock()
	s.started = append(s.started, time.Now())
	err := s.refuses
	s.apply, s.broken = apply, make(chan error)
	broken := s.broken
	s.mu.Unlock()
	if err != nil {
		return err
	}
	ended := ctx.Done()
	if s.deaf {
		ended = nil
	}
	select {
	case <-ended:
		return ctx.Err()
	case err := <-broken:
		return err
	}
}

func (s *fakeStore) deliver(u Update) { s.apply(u) }

// bubble runs a test of a list in a synctest bubble.
func bubble(t *testing.T, test func(t *testing.T, l *list, logs *observer.ObservedLogs, logger *zap.Logger)) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		test(t, newList("test"), logs, zap.New(core))
	})
}

func (l *list) bans(addr string) bool { return found(&l.table, addr) != "" }

const someone = "203.0.113.7"

func TestListKeepsTheLastListWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, logs *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := &source{store: store, limit: noLimit, logger: logger}
		l.attach(s)
		defer l.detach(s)
		synctest.Wait()
		store.deliver(Update{Reset: true, Changes: []Change{ban(someone+"/32", 0)}, Position: 1})

		store.mu.Lock()
		store.refuses = errors.New("away")
		store.mu.Unlock()
		store.broken <- errors.New("connection reset")
		time.Sleep(time.Minute)
		synctest.Wait()
		if !l.bans(someone) {
			t.Fatal("the ban was forgotten")
		}
		checkRetries(t, store.started)
		if logs.FilterMessageSnippet("the last list stays in force").Len() != len(store.started) {
			t.Errorf("%d lines in the log for %d tries", logs.Len(), len(store.started))
		}

		store.mu.Lock()
		store.refuses = nil
		store.mu.Unlock()
		time.Sleep(maxRetry)
		synctest.Wait()
		store.deliver(Update{Reset: true, Position: 5})
		if l.bans(someone) {
			t.Fatal("a ban that the whole list does not hold is still in force")
		}
	})
}

// checkRetries wants pauses that grow from minRetry to maxRetry, each from half of it to all.
func checkRetries(t *testing.T, started []time.Time) {
	t.Helper()
	if len(started) < 8 {
		t.Fatalf("only %d tries in a minute", len(started))
	}
	for i, retry := 1, minRetry; i < len(started); i, retry = i+1, min(2*retry, maxRetry) {
		if pause := started[i].Sub(started[i-1]); pause < retry/2 || pause > retry {
			t.Errorf("try %d came after %v, want %v to %v", i, pause, retry/2, retry)
		}
	}
}

func TestListRetriesSoonAfterAFeedThatWorked(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := &source{store: store, limit: noLimit, logger: logger}
		l.attach(s)
		defer l.detach(s)
		for range 10 {
			synctest.Wait()
			store.deliver(Update{Reset: true})
			store.broken <- nil // also an end without an error is a break
			time.Sleep(minRetry)
		}
		synctest.Wait()
		if len(store.started) != 11 {
			t.Fatalf("followed %d times, want 11: the pause grew though the feed worked", len(store.started))
		}
	})
}

// During a reload two configs follow one list. Only the newer one's feed counts, from the moment it starts.
func TestListHandover(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		older, newer := &fakeStore{deaf: true}, &fakeStore{}
		first, second := &source{store: older, limit: noLimit, logger: logger}, &source{store: newer, limit: noLimit, logger: logger}
		l.attach(first)
		synctest.Wait()
		older.deliver(Update{Reset: true, Changes: []Change{ban(someone+"/32", 0)}, Position: 7})

		l.attach(second)
		synctest.Wait()
		if !l.bans(someone) {
			t.Fatal("the ban was forgotten between two feeds")
		}
		newer.deliver(Update{Reset: true, Changes: []Change{ban("198.51.100.1/32", 0)}, Position: 8})
		older.deliver(Update{Changes: []Change{ban(someone+"/32", 0)}, Position: 7}) // late
		if l.bans(someone) || !l.bans("198.51.100.1") {
			t.Fatal("the feed of the older config undid the newer one's")
		}

		// The new config is rejected after all, as when another app of it fails to start.
		older.broken <- nil
		l.detach(second)
		synctest.Wait()
		older.deliver(Update{Reset: true, Changes: []Change{ban(someone+"/32", 0)}, Position: 9})
		if !l.bans(someone) || l.bans("198.51.100.1") {
			t.Fatal("the older config does not follow any more")
		}
		older.broken <- nil
		l.detach(first)
		if l.feed != nil || len(l.sources) != 0 {
			t.Fatal("something still follows")
		}
	})
}

// The store of a config that ends may be closed, so nobody may follow it any more, also where a newer config took over.
func TestListWaitsForAReplacedFeed(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, logs *observer.ObservedLogs, logger *zap.Logger) {
		older := &fakeStore{deaf: true}
		first := &source{store: older, limit: noLimit, logger: logger}
		second := &source{store: &fakeStore{}, limit: noLimit, logger: logger}
		l.attach(first)
		synctest.Wait()
		l.attach(second)
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.detach(first)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Error("the store was let go while it was being followed")
		default:
		}
		older.broken <- nil
		<-done
		l.detach(second)
		if logs.Len() > 0 {
			t.Errorf("logged %v", logs.All())
		}
	})
}

// gather returns the figures of the one list that is fed.
func gather(t *testing.T) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newFigures())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, series := range family.GetMetric() {
			got[family.GetName()] += series.GetGauge().GetValue()
		}
	}
	return got
}

// A list that goes, as that of a rejected config, takes no metric of the running one along.
func TestMetricsAreThoseOfTheListThatIsFed(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		take := func(key string, l *list) lease.Lease {
			_, lease, err := lease.Take(lists, key, func() (*list, error) { return l, nil })
			if err != nil {
				t.Fatal(err)
			}
			return lease
		}
		running, rejected := take("running", l), take("rejected", newList("test"))
		store := &fakeStore{}
		s := &source{store: store, limit: noLimit, logger: logger}
		l.attach(s)
		synctest.Wait()
		store.deliver(Update{Reset: true, Changes: []Change{ban(someone+"/32", 0)}, Position: 1})
		_ = rejected.Release()
		if got := gather(t); got["gatehouse_ip_ban_active"] != 1 || got["gatehouse_ip_ban_store_up"] != 1 {
			t.Errorf("got %v, want one ban and a store that is up", got)
		}
		l.detach(s)
		if got := gather(t); len(got) != 0 {
			t.Errorf("%v is left of a list that nobody uses", got)
		}
		_ = running.Release()
	})
}

func TestListGivesUpOnAStoreThatDoesNotStop(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, logs *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{deaf: true}
		s := &source{store: store, limit: noLimit, logger: logger}
		l.attach(s)
		synctest.Wait()
		began := time.Now()
		l.detach(s)
		if waited := time.Since(began); waited != stopTimeout || logs.FilterMessage("the store did not stop following").Len() != 1 {
			t.Errorf("waited %v, logged %v", waited, logs.All())
		}
		store.broken <- nil
	})
}

// Changes that come quickly are copied into the table a hundred times a second at most.
func TestListPacesTheFeed(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := &source{store: store, limit: noLimit, logger: logger}
		l.attach(s)
		defer l.detach(s)
		synctest.Wait()
		began := time.Now()
		store.deliver(Update{Reset: true})
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the first update waited %v", waited)
		}
		for range 10 {
			store.deliver(Update{Changes: []Change{ban(someone+"/32", 0)}})
		}
		if waited := time.Since(began); waited != 10*batchInterval {
			t.Errorf("ten updates took %v, want %v", waited, 10*batchInterval)
		}
		time.Sleep(batchInterval)
		began = time.Now()
		store.deliver(Update{})
		if waited := time.Since(began); waited != 0 {
			t.Errorf("an update after a pause waited %v", waited)
		}
	})
}

func TestListSweepsExpiredBans(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := &source{store: store, limit: noLimit, logger: logger}
		l.attach(s)
		defer l.detach(s)
		synctest.Wait()
		store.deliver(Update{Reset: true, Changes: []Change{ban(someone+"/32", time.Second), ban("198.51.100.1/32", 0)}})
		time.Sleep(sweepInterval)
		synctest.Wait()
		if n := l.table.load().Size(); n != 1 {
			t.Fatalf("the table has %d entries, want 1", n)
		}
	})
}

func TestListCountsWhatItCannotHold(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, logs *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		s := &source{store: store, limit: 1, logger: logger}
		l.attach(s)
		defer l.detach(s)
		synctest.Wait()
		store.deliver(Update{Reset: true, Changes: []Change{ban(someone+"/32", 0), ban("198.51.100.1/32", 0)}})
		if l.table.count() != 1 || logs.FilterMessageSnippet("more bans than max_bans").Len() != 1 {
			t.Fatalf("holds %d bans, logged %v", l.table.count(), logs.All())
		}
	})
}

// A start waits for the list, but not for a store that has failed already.
func TestListBegins(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{refuses: errors.New("away")}
		s := &source{store: store, limit: noLimit, logger: logger}
		l.attach(s)
		defer l.detach(s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if l.begun(ctx) || time.Since(began) != 0 {
			t.Fatalf("waited %v for a store that is away", time.Since(began))
		}
		store.mu.Lock()
		store.refuses = nil
		store.mu.Unlock()
		time.Sleep(maxRetry)
		synctest.Wait()
		store.deliver(Update{Reset: true})
		if !l.begun(ctx) {
			t.Fatal("the list is not known")
		}
	})
}

// newApp returns an app on a fake store, with its list attached.
func newApp(t *testing.T, store *fakeStore, l *list, logger *zap.Logger) *App {
	a := &App{MaxBans: 2, IPv6Prefix: 64, store: store, list: l, logger: logger, allowed: allowList(nil)}
	a.source = &source{store: store, limit: a.MaxBans, logger: logger}
	l.attach(a.source)
	t.Cleanup(func() { _ = a.Stop() })
	synctest.Wait()
	store.deliver(Update{Reset: true})
	return a
}

func TestPutReturnsWhenTheChangeIsInForce(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		a := newApp(t, store, l, logger)
		done := make(chan error, 1)
		go func() { done <- a.put(t.Context(), []Change{ban(someone+"/32", 0)}) }()
		synctest.Wait()
		store.deliver(Update{Position: 0}) // something else
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("returned %v before the change was in force", err)
		default:
		}
		store.deliver(Update{Changes: store.put, Position: 1})
		if err := <-done; err != nil || !l.bans(someone) {
			t.Fatalf("got %v, banned %v", err, l.bans(someone))
		}
	})
}

func TestPutErrors(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		a := newApp(t, store, l, logger)
		began := time.Now()
		err := a.put(t.Context(), []Change{ban(someone+"/32", 0)})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != putTimeout+changeTimeout || !strings.Contains(err.Error(), "has not heard of it") {
			t.Errorf("a feed that is behind: %v after %v", err, time.Since(began))
		}
		away := errors.New("away")
		store.refuses = away
		if err := a.put(t.Context(), []Change{ban(someone+"/32", 0)}); !errors.Is(err, away) {
			t.Errorf("a store that is away: %v", err)
		}
	})
}

func TestPutMakesRoom(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		a := newApp(t, store, l, logger)
		store.deliver(Update{Changes: []Change{ban("198.51.100.1/32", 0), ban("198.51.100.2/32", time.Second)}, Position: 100})
		if err := a.put(t.Context(), []Change{ban(someone+"/32", 0)}); !errors.Is(err, ErrFull) || len(store.put) != 0 {
			t.Fatalf("a full list: %v, put %v", err, store.put)
		}
		for name, change := range map[string]Change{"renewal": ban("198.51.100.1/32", 0), "lift": lift("198.51.100.1/32")} {
			if err := a.put(t.Context(), []Change{change}); err != nil {
				t.Errorf("%s in a full list: %v", name, err)
			}
		}
		time.Sleep(2 * time.Second) // one has expired, and the last sweep for room was a moment ago
		if err := a.put(t.Context(), []Change{ban(someone+"/32", 0)}); !errors.Is(err, ErrFull) {
			t.Fatalf("swept again at once: %v", err)
		}
		time.Sleep(sweepPause)
		if err := a.put(t.Context(), []Change{ban(someone+"/32", 0)}); err != nil {
			t.Fatalf("an expired ban made no room: %v", err)
		}
	})
}

func TestBanAddress(t *testing.T) {
	bubble(t, func(t *testing.T, l *list, _ *observer.ObservedLogs, logger *zap.Logger) {
		store := &fakeStore{}
		a := newApp(t, store, l, logger)
		l.mu.Lock()
		l.position = 100 // whatever is put is in force
		l.mu.Unlock()
		a.allowed = allowList([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
		for addr, want := range map[string]string{
			"203.0.113.7":        "203.0.113.7/32",
			"::ffff:203.0.113.7": "203.0.113.7/32",
			"2001:db8:1:2:3::4":  "2001:db8:1:2::/64",
			"fe80::1%eth0":       "fe80::/64",
		} {
			store.put = nil
			if err := a.BanAddress(t.Context(), netip.MustParseAddr(addr), time.Hour, "logins", "guess\xffing\t"); err != nil {
				t.Fatal(err)
			}
			got, now := store.put[0].Ban, time.Now().UTC().Truncate(time.Millisecond)
			if want := (Ban{
				Prefix: netip.MustParsePrefix(want), Reason: "guessing ", Source: "logins", Created: now, Expires: now.Add(time.Hour),
			}); got != want {
				t.Errorf("%s: got %+v, want %+v", addr, got, want)
			}
		}
		store.put = nil
		for _, addr := range []string{"10.1.2.3", "127.0.0.1", "::1"} {
			if err := a.BanAddress(t.Context(), netip.MustParseAddr(addr), 0, "", ""); !errors.Is(err, ErrAllowListed) {
				t.Errorf("%s: %v", addr, err)
			}
		}
		if err := a.BanAddress(t.Context(), netip.Addr{}, 0, "", ""); err == nil || len(store.put) != 0 {
			t.Errorf("no address: %v, put %v", err, store.put)
		}
	})
}
