// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcachetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// RunFeed tests a feed. open returns feeds of one empty list of purges, as two proxies would have.
func RunFeed(t *testing.T, open func(t *testing.T) (here, there respcache.Feed)) {
	for name, test := range map[string]func(*testing.T, respcache.Feed, respcache.Feed){
		"reaches all":       reachesAll,
		"from now on":       fromNowOn,
		"catches up":        catchesUp,
		"ends":              ends,
		"many at once":      manyPurges,
		"keeps every field": everyField,
	} {
		t.Run(name, func(t *testing.T) {
			here, there := open(t)
			test(t, here, there)
		})
	}
}

// follower takes purges in.
type follower struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error

	mu       sync.Mutex
	purges   []respcache.Purge
	position string
	calls    int
	changed  chan struct{}
}

func follow(t *testing.T, feed respcache.Feed, position string) *follower {
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{t: t, cancel: cancel, ended: make(chan error, 1), changed: make(chan struct{})}
	go func() {
		f.ended <- feed.Follow(ctx, position, func(purges []respcache.Purge, position string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.purges, f.position, f.calls = append(f.purges, purges...), position, f.calls+1
			close(f.changed)
			f.changed = make(chan struct{})
		})
	}()
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *follower) stop() string {
	f.cancel()
	select {
	case err := <-f.ended:
		f.ended <- err
	case <-time.After(patience):
		f.t.Error("Follow did not return when its context ended")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.position
}

// wait waits until the feed has been heard of, and for so many purges.
func (f *follower) wait(n int) []respcache.Purge {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		purges, calls, changed := slices.Clone(f.purges), f.calls, f.changed
		f.mu.Unlock()
		if calls > 0 && len(purges) >= n {
			return purges
		}
		select {
		case <-changed:
		case <-deadline:
			f.t.Fatalf("%d purges came, want %d", len(purges), n)
		}
	}
}

func send(t *testing.T, feed respcache.Feed, values ...string) {
	t.Helper()
	var purges []respcache.Purge
	for _, value := range values {
		purges = append(purges, respcache.Purge{Kind: respcache.PurgeTag, Value: value})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := feed.Send(ctx, purges); err != nil {
		t.Fatal(err)
	}
}

func values(purges []respcache.Purge) (all []string) {
	for _, p := range purges {
		all = append(all, p.Kind+" "+p.Value)
	}
	return all
}

func reachesAll(t *testing.T, here, there respcache.Feed) {
	a, b := follow(t, here, ""), follow(t, there, "")
	a.wait(0)
	b.wait(0)
	send(t, here, "1")
	send(t, there, "2", "3")
	for _, f := range []*follower{a, b} {
		if got := values(f.wait(3)); !slices.Equal(got, []string{"tag 1", "tag 2", "tag 3"}) {
			t.Errorf("got %q", got)
		}
	}
}

func fromNowOn(t *testing.T, here, there respcache.Feed) {
	send(t, here, "before")
	f := follow(t, there, "")
	f.wait(0)
	send(t, here, "after")
	if got := values(f.wait(1)); !slices.Equal(got, []string{"tag after"}) {
		t.Errorf("got %q", got)
	}
}

func catchesUp(t *testing.T, here, there respcache.Feed) {
	f := follow(t, there, "")
	f.wait(0)
	send(t, here, "1")
	f.wait(1)
	position := f.stop()
	send(t, here, "2")
	send(t, here, "3")
	again := follow(t, there, position)
	send(t, here, "4")
	if got := values(again.wait(3)); !slices.Equal(got, []string{"tag 2", "tag 3", "tag 4"}) {
		t.Errorf("got %q", got)
	}
}

func ends(t *testing.T, here, there respcache.Feed) {
	f := follow(t, there, "")
	f.wait(0)
	f.stop()
	send(t, here, "1")
	if got := f.wait(0); len(got) > 0 {
		t.Errorf("after its end came %q", values(got))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := here.Send(ctx, []respcache.Purge{{Kind: respcache.PurgeAll}}); err == nil {
		t.Error("Send succeeded although its context had ended")
	}
}

func manyPurges(t *testing.T, here, there respcache.Feed) {
	f := follow(t, there, "")
	f.wait(0)
	var all []string
	for i := range 2000 {
		all = append(all, fmt.Sprint(i))
	}
	send(t, here, all...)
	for i, got := range values(f.wait(len(all))) {
		if got != "tag "+all[i] {
			t.Fatalf("purge %d is %q", i, got)
		}
	}
}

func everyField(t *testing.T, here, there respcache.Feed) {
	f := follow(t, there, "")
	f.wait(0)
	want := []respcache.Purge{
		{Kind: respcache.PurgeURL, Value: "https://example.com/ä?x=\"y\"", Soft: true},
		{Kind: respcache.PurgeAll},
		{Kind: respcache.PurgeGroup, Value: "https://example.com a b"},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := here.Send(ctx, want); err != nil {
		t.Fatal(err)
	}
	if got := f.wait(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
