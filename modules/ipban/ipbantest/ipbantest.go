// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package ipbantest holds the tests that every implementation of ipban.Store must pass.
package ipbantest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

// patience bounds every wait of the suite: a store that is well is far quicker.
const patience = 20 * time.Second

// Run tests a store. open returns one with an empty list of its own, provisioned, and cleans it up when the test ends; it
// is called once for each part of the suite.
func Run(t *testing.T, open func(t *testing.T) ipban.Store) {
	for name, test := range map[string]func(*testing.T, ipban.Store){
		"empty list":            emptyList,
		"list first":            listFirst,
		"every field":           everyField,
		"changes":               changes,
		"order in one put":      orderInOnePut,
		"several followers":     severalFollowers,
		"concurrent puts":       concurrentPuts,
		"many at once":          manyAtOnce,
		"nothing to put":        nothingToPut,
		"follow again":          followAgain,
		"follow ends":           followEnds,
		"put after its context": putAfterItsContext,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// follower applies what a store delivers, as the host does, and checks what every feed promises.
type follower struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error // Follow's error

	mu       sync.Mutex
	applying bool
	returned bool
	updates  int
	position uint64
	bans     map[netip.Prefix]ipban.Ban
	arriving map[netip.Prefix]ipban.Ban // the list of which more is to come; nil if none is
	changed  chan struct{}
}

// follow begins to follow the store, until the test ends.
func follow(t *testing.T, store ipban.Store) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{t: t, cancel: cancel, ended: make(chan error, 1), changed: make(chan struct{})}
	go func() {
		err := store.Follow(ctx, f.apply)
		f.mu.Lock()
		f.returned = true
		f.mu.Unlock()
		f.ended <- err
	}()
	t.Cleanup(f.stop)
	return f
}

// stop ends Follow and waits until it has returned.
func (f *follower) stop() {
	f.cancel()
	select {
	case err := <-f.ended:
		f.ended <- err
	case <-time.After(patience):
		f.t.Error("Follow did not return when its context ended")
	}
}

func (f *follower) apply(u ipban.Update) {
	f.mu.Lock()
	if f.applying || f.returned {
		f.t.Errorf("apply was called while it ran (%v) or after Follow had returned (%v)", f.applying, f.returned)
	}
	f.applying = true
	f.mu.Unlock()
	time.Sleep(time.Millisecond) // so that a second call, or a change made meanwhile, has the time to go wrong

	f.mu.Lock()
	defer f.mu.Unlock()
	f.applying = false
	switch {
	case u.Reset:
		f.arriving = map[netip.Prefix]ipban.Ban{}
	case f.updates == 0 && f.arriving == nil:
		f.t.Error("the first update does not begin the whole list")
	case u.More && f.arriving == nil:
		f.t.Error("an update that is no part of a list says that more of it comes")
	}
	f.take(u)
	if u.More {
		return
	}
	if u.Position < f.position {
		f.t.Errorf("the position fell from %d to %d", f.position, u.Position)
	}
	f.updates, f.position = f.updates+1, u.Position
	close(f.changed)
	f.changed = make(chan struct{})
}

// take makes an update's changes, in the list that is arriving if one is. The caller holds mu.
func (f *follower) take(u ipban.Update) {
	list := f.arriving
	if list == nil {
		list = f.bans
	}
	for _, c := range u.Changes {
		switch {
		case !c.Lift:
			list[c.Prefix] = c.Ban
		case f.arriving != nil:
			f.t.Errorf("the whole list holds the lift of %s", c.Prefix)
		default:
			delete(list, c.Prefix)
		}
	}
	if f.arriving != nil && !u.More {
		f.bans, f.arriving = f.arriving, nil
	}
}

// at waits until the feed has come to a position, and to its first update in any case, and returns the list.
func (f *follower) at(position uint64) map[netip.Prefix]ipban.Ban {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		reached, bans, changed := f.updates > 0 && f.position >= position, maps.Clone(f.bans), f.changed
		f.mu.Unlock()
		if reached {
			return bans
		}
		select {
		case <-changed:
		case err := <-f.ended:
			f.ended <- err
			f.t.Fatalf("Follow ended: %v", err)
		case <-deadline:
			f.t.Fatalf("the feed did not come to position %d: it is at %d", position, f.position)
		}
	}
}

// want compares the list with the bans of these prefixes.
func want(t *testing.T, got map[netip.Prefix]ipban.Ban, prefixes ...string) {
	t.Helper()
	for _, p := range prefixes {
		if _, ok := got[netip.MustParsePrefix(p)]; !ok {
			t.Errorf("%s is not in the list", p)
		}
	}
	if len(got) != len(prefixes) {
		t.Errorf("the list has %d bans, want %d: %v", len(got), len(prefixes), got)
	}
}

func ban(prefix string) ipban.Change {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return ipban.Change{Ban: ipban.Ban{
		Prefix: netip.MustParsePrefix(prefix), Reason: "abuse", Source: "manual", Created: now, Expires: now.Add(time.Hour),
	}}
}

func lift(prefix string) ipban.Change {
	return ipban.Change{Ban: ipban.Ban{Prefix: netip.MustParsePrefix(prefix)}, Lift: true}
}

func put(t *testing.T, store ipban.Store, changes ...ipban.Change) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	position, err := store.Put(ctx, changes)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return position
}

func emptyList(t *testing.T, store ipban.Store) {
	want(t, follow(t, store).at(0))
}

func listFirst(t *testing.T, store ipban.Store) {
	put(t, store, ban("203.0.113.7/32"), ban("198.51.100.0/24"))
	position := put(t, store, ban("2001:db8::/32"), lift("198.51.100.0/24"))
	f := follow(t, store)
	want(t, f.at(position), "203.0.113.7/32", "2001:db8::/32")
	if f.updates != 1 {
		t.Errorf("the list came in %d updates", f.updates)
	}
}

func everyField(t *testing.T, store ipban.Store) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	sent := []ipban.Change{
		{Ban: ipban.Ban{
			Prefix: netip.MustParsePrefix("203.0.113.7/32"), Reason: `a "quoted", | : äöü 日本 reason`, Source: "import",
			Created: created, Expires: time.Now().UTC().Add(time.Hour).Truncate(time.Millisecond),
		}},
		{Ban: ipban.Ban{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Created: created}},
		{Ban: ipban.Ban{Prefix: netip.MustParsePrefix("::/0"), Reason: "all", Source: "policy", Created: created}},
		{Ban: ipban.Ban{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Source: "manual", Created: created}},
		// one that is over, and makes the next one longer
		{Ban: ipban.Ban{
			Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Source: "logins", Created: created, Expires: created.Add(time.Hour),
			Level: 3, Remembered: time.Now().UTC().Add(time.Hour).Truncate(time.Millisecond),
		}},
	}
	live := follow(t, store)
	live.at(0)
	position := put(t, store, sent...)
	for name, got := range map[string]map[netip.Prefix]ipban.Ban{
		"as changes": live.at(position), "as a list": follow(t, store).at(position),
	} {
		for _, c := range sent {
			if b := got[c.Prefix]; b != c.Ban {
				t.Errorf("%s: got %+v, want %+v", name, b, c.Ban)
			}
		}
	}
}

func changes(t *testing.T, store ipban.Store) {
	f := follow(t, store)
	f.at(0)
	want(t, f.at(put(t, store, ban("203.0.113.7/32"))), "203.0.113.7/32")
	want(t, f.at(put(t, store, ban("203.0.113.0/24"))), "203.0.113.7/32", "203.0.113.0/24")
	renewed := ban("203.0.113.7/32")
	renewed.Reason = "again"
	if got := f.at(put(t, store, renewed))[renewed.Prefix]; got != renewed.Ban {
		t.Errorf("a ban that was made again: got %+v, want %+v", got, renewed.Ban)
	}
	want(t, f.at(put(t, store, lift("203.0.113.7/32"))), "203.0.113.0/24")
	want(t, f.at(put(t, store, lift("203.0.113.7/32"))), "203.0.113.0/24") // lifting twice is no error
}

func orderInOnePut(t *testing.T, store ipban.Store) {
	f := follow(t, store)
	f.at(0)
	const a, b = "203.0.113.7/32", "203.0.113.8/32"
	position := put(t, store, ban(a), lift(a), lift(b), ban(b))
	want(t, f.at(position), b)
	want(t, follow(t, store).at(position), b)
}

func severalFollowers(t *testing.T, store ipban.Store) {
	followers := []*follower{follow(t, store), follow(t, store), follow(t, store)}
	position := put(t, store, ban("203.0.113.7/32"))
	for _, f := range followers {
		want(t, f.at(position), "203.0.113.7/32")
	}
	followers[0].stop()
	position = put(t, store, ban("203.0.113.8/32"))
	for _, f := range followers[1:] {
		want(t, f.at(position), "203.0.113.7/32", "203.0.113.8/32")
	}
}

func concurrentPuts(t *testing.T, store ipban.Store) {
	f := follow(t, store)
	f.at(0)
	const writers, each = 8, 50
	var running sync.WaitGroup
	var positions [writers]uint64
	for w := range writers {
		running.Go(func() {
			for i := range each {
				prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(w), byte(i)}), 32)
				position, err := store.Put(t.Context(), []ipban.Change{{Ban: ipban.Ban{Prefix: prefix, Created: time.Now().UTC()}}})
				if err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				if position <= positions[w] {
					t.Errorf("a later Put returned position %d, the one before %d", position, positions[w])
				}
				positions[w] = position
			}
		})
	}
	running.Wait()
	var last uint64
	for _, p := range positions {
		last = max(last, p)
	}
	if live, list := f.at(last), follow(t, store).at(last); len(live) != writers*each || len(list) != writers*each {
		t.Errorf("the feed has %d bans and the list %d, want %d", len(live), len(list), writers*each)
	}
}

func manyAtOnce(t *testing.T, store ipban.Store) {
	f := follow(t, store)
	f.at(0)
	const n = 20_000
	many := make([]ipban.Change, n)
	for i := range many {
		many[i] = ban(fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255))
	}
	position := put(t, store, many...)
	clear(many) // the slice is not the store's
	if live, list := f.at(position), follow(t, store).at(position); len(live) != n || len(list) != n {
		t.Errorf("the feed has %d bans and the list %d, want %d", len(live), len(list), n)
	}
}

func nothingToPut(t *testing.T, store ipban.Store) {
	f := follow(t, store)
	first := put(t, store, ban("203.0.113.7/32"))
	if position := put(t, store); position > first {
		f.at(position) // a position that is never reached would keep the host waiting
	}
	want(t, f.at(first), "203.0.113.7/32")
}

func followAgain(t *testing.T, store ipban.Store) {
	f := follow(t, store)
	f.at(put(t, store, ban("203.0.113.7/32"), ban("203.0.113.8/32")))
	f.stop()
	position := put(t, store, lift("203.0.113.7/32"), ban("203.0.113.9/32"))
	want(t, follow(t, store).at(position), "203.0.113.8/32", "203.0.113.9/32")
}

func followEnds(t *testing.T, store ipban.Store) {
	f := follow(t, store)
	f.at(put(t, store, ban("203.0.113.7/32")))
	f.cancel()
	select {
	case err := <-f.ended:
		f.ended <- err
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("Follow returned %v for its cancelled context; the host does not mind", err)
		}
	case <-time.After(time.Second):
		t.Error("Follow took more than a second to return when its context ended")
	}
	put(t, store, ban("203.0.113.8/32")) // may still come; apply reports a call
}

func putAfterItsContext(t *testing.T, store ipban.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Put(ctx, []ipban.Change{ban("203.0.113.7/32")}); err == nil {
		t.Error("Put succeeded though its context had ended: a host that gave up would be told nothing")
	}
}
