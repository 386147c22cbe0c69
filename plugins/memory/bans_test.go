// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban/ipbantest"
)

func TestBanStoreConforms(t *testing.T) {
	gatehousetest.NoLeaks(t)
	ipbantest.Run(t, func(t *testing.T) ipban.Store {
		return gatehousetest.Provision(t, new(BanStore))
	})
}

// disk is a storage that remembers, and may fail.
type disk struct {
	certmagic.Storage // what a snapshot does not need

	mu    sync.Mutex
	files map[string]string
	saves int
	fails error
	slow  time.Duration
}

func (d *disk) Load(_ context.Context, key string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return nil, d.fails
	}
	text, ok := d.files[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (d *disk) Store(_ context.Context, key string, value []byte) error {
	d.mu.Lock()
	slow := d.slow
	d.mu.Unlock()
	time.Sleep(slow)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return d.fails
	}
	d.files[key] = string(value)
	d.saves++
	return nil
}

func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = err
}

func (d *disk) delay(slow time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = slow
}

// count is how often something was stored.
func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.saves
}

// saved is the prefixes of the snapshot, joined.
func (d *disk) saved(t *testing.T) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	text, ok := d.files[snapshotKey]
	if !ok {
		return "no snapshot"
	}
	bans, err := decodeSnapshot([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var prefixes []string
	for _, b := range bans {
		prefixes = append(prefixes, b.Prefix.String())
	}
	return strings.Join(prefixes, " ")
}

// run is one process, or one config in it, that follows the list.
type run struct {
	*BanStore
	t    *testing.T
	logs *observer.ObservedLogs
	end  context.CancelFunc
	done chan error

	mu   sync.Mutex
	bans map[netip.Prefix]bool
}

// start follows the list, kept on the disk, as the host would.
func start(t *testing.T, list *banList, d *disk) *run {
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{
		BanStore: &BanStore{list: list, storage: d, logger: zap.New(core)},
		t:        t, logs: logs, end: cancel, done: make(chan error, 1), bans: map[netip.Prefix]bool{},
	}
	go func() { r.done <- r.Follow(ctx, r.apply) }()
	synctest.Wait()
	return r
}

func (r *run) apply(u ipban.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.Reset {
		clear(r.bans)
	}
	for _, c := range u.Changes {
		if delete(r.bans, c.Prefix); !c.Lift {
			r.bans[c.Prefix] = true
		}
	}
}

func (r *run) ban(prefix string, d time.Duration) {
	r.t.Helper()
	b := ipban.Ban{Prefix: netip.MustParsePrefix(prefix), Created: time.Now().UTC()}
	if d > 0 {
		b.Expires = b.Created.Add(d)
	}
	if _, err := r.Put(r.t.Context(), []ipban.Change{{Ban: b}}); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the run and waits for it.
func (r *run) stop() {
	r.t.Helper()
	r.end()
	if err := <-r.done; !errors.Is(err, context.Canceled) {
		r.t.Fatalf("Follow returned %v", err)
	}
}

func (r *run) has(prefixes ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range prefixes {
		if !r.bans[netip.MustParsePrefix(p)] {
			r.t.Errorf("%s is not banned", p)
		}
	}
	if len(r.bans) != len(prefixes) {
		r.t.Errorf("%d bans, want %d: %v", len(r.bans), len(prefixes), r.bans)
	}
}

const a, b = "203.0.113.7/32", "2001:db8::/32"

func newDisk() *disk { return &disk{files: map[string]string{}} }

func TestSnapshotOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		r := start(t, newBanList(), d)
		r.ban(a, time.Hour)
		r.ban(b, time.Minute)
		r.stop()
		time.Sleep(2 * time.Minute)

		r = start(t, newBanList(), d)
		r.has(a)
		if r.stop(); d.count() != 1 {
			t.Errorf("%d snapshots were written, want 1: nothing changed in the second process", d.count())
		}
	})
}

func TestSnapshotIsWrittenSoonAndNotForEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		r := start(t, newBanList(), d)
		defer r.stop()
		if gatehousetest.Advance(time.Hour); d.count() != 0 {
			t.Fatal("an empty list was written")
		}
		for i := range 100 {
			r.ban(fmt.Sprintf("10.0.0.%d/32", i), 0)
		}
		if gatehousetest.Advance(savePause - 1); d.count() != 0 {
			t.Fatal("written at once")
		}
		if gatehousetest.Advance(1); d.count() != 1 {
			t.Fatalf("written %d times, want once", d.count())
		}
		d.delay(time.Second) // a long list: from now on it may cost a tenth of the time
		for range 100 {
			r.ban(a, 0)
			gatehousetest.Advance(time.Second)
		}
		if n := d.count(); n < 8 || n > 12 {
			t.Errorf("written %d times in 100 s, each taking one", n)
		}
	})
}

func TestSnapshotForgetsExpiredBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, list := newDisk(), newBanList()
		r := start(t, list, d)
		r.ban(a, time.Millisecond)
		r.ban(b, 0)
		gatehousetest.Advance(time.Minute)
		if got := d.saved(t); got != b || len(list.bans) != 1 {
			t.Errorf("the snapshot has %s, the list %d bans", got, len(list.bans))
		}
		r.stop()
	})
}

// Bans that are over and still make the next one longer are bounded, and never cost one that is in force.
func TestRememberedBansAreBounded(t *testing.T) {
	list, now := newBanList(), time.Now()
	list.remembered = 10
	var changes []ipban.Change
	for i := range 100 {
		over := ipban.Ban{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32), Level: 1}
		over.Expires, over.Remembered = now.Add(-time.Minute), now.Add(time.Hour)
		lasting := ipban.Ban{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32), Level: 1}
		if i%2 == 0 {
			lasting.Expires, lasting.Remembered = now.Add(time.Minute), now.Add(time.Hour)
		}
		changes = append(changes, ipban.Change{Ban: over}, ipban.Change{Ban: lasting})
	}
	list.put(changes)
	kept, _ := list.inForce()
	ended := 0
	for _, b := range kept {
		if ended++; b.Expires.IsZero() || b.Expires.After(now) {
			ended--
		}
	}
	if len(kept) != 110 || ended != 10 || len(list.bans) != 110 {
		t.Errorf("%d bans are kept, %d of them over; the list has %d", len(kept), ended, len(list.bans))
	}
}

func TestDamagedSnapshotIsKeptAside(t *testing.T) {
	sound := string(encodeSnapshot([]ipban.Ban{{Prefix: netip.MustParsePrefix(a)}, {Prefix: netip.MustParsePrefix(b)}}))
	for name, text := range map[string]string{
		"noise":           "\x00\x00\x00",
		"empty":           "",
		"another version": "gatehouse-bans 2 0 00000000\n",
		"cut off":         sound[:len(sound)-9],
		"a flipped bit":   strings.Replace(sound, "203.0.113.7", "203.0.113.6", 1),
		"fewer bans":      strings.Replace(sound, "bans 1 2", "bans 1 3", 1),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk()
				d.files[snapshotKey] = text
				r := start(t, newBanList(), d)
				if r.has(); r.logs.FilterMessageSnippet("damaged").Len() != 1 {
					t.Errorf("logged %v", r.logs.All())
				}
				r.ban(a, 0)
				r.stop()
				if d.files[damagedKey] != text || d.saved(t) != a {
					t.Errorf("kept aside %q, the new snapshot is %q", d.files[damagedKey], d.saved(t))
				}
			})
		})
	}
}

// A storage that does not answer must not lead to the snapshot being overwritten by an empty one.
func TestStorageThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		r := start(t, newBanList(), d)
		r.ban(a, 0)
		r.stop()

		away := errors.New("away")
		d.fail(away)
		list := newBanList()
		r = start(t, list, d)
		if err := <-r.done; !errors.Is(err, away) {
			t.Fatalf("Follow returned %v", err)
		}
		r.ban(b, 0) // meanwhile
		r.ban(a, time.Hour)
		d.fail(nil)
		if err := list.Destruct(); err != nil || d.saved(t) != a {
			t.Fatalf("a list that was never loaded was written: %q, %v", d.saved(t), err)
		}
		r = start(t, list, d) // the host tries again
		if r.has(a, b); list.bans[netip.MustParsePrefix(a)].Expires.IsZero() {
			t.Error("the snapshot replaced a newer ban")
		}
		r.stop()
		if got := d.saved(t); !strings.Contains(got, a) || !strings.Contains(got, b) {
			t.Errorf("the snapshot has %q", got)
		}
	})
}

func TestSnapshotThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		r := start(t, newBanList(), d)
		d.fail(errors.New("full"))
		r.ban(a, 0)
		gatehousetest.Advance(10 * time.Second)
		d.fail(nil)
		gatehousetest.Advance(2 * time.Second)
		if r.logs.FilterMessageSnippet("trying again").Len() == 0 || d.saved(t) != a {
			t.Errorf("logged %v, saved %q", r.logs.All(), d.saved(t))
		}
		r.stop()
	})
}

// A reload may bring another storage: the list must go there, and the older config must not count it as written when it
// writes for the last time.
func TestReloadWithAnotherStorage(t *testing.T) {
	for i := range 40 { // the two configs' goroutines meet in any order
		synctest.Test(t, func(t *testing.T) {
			list, before, after := newBanList(), newDisk(), newDisk()
			older := start(t, list, before)
			older.ban(a, 0)
			if i%2 == 0 { // the old storage has it already, or gets it last
				gatehousetest.Advance(2 * savePause)
			}
			older.end()
			newer := start(t, list, after)
			older.stop()
			newer.has(a)
			gatehousetest.Advance(2 * savePause)
			if got := after.saved(t); got != a {
				t.Fatalf("the new storage has %q", got)
			}
			newer.stop()
		})
	}
}

func TestLastPutIsWrittenWhenTheListEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, d := newBanList(), newDisk()
		r := start(t, list, d)
		r.stop()
		r.ban(a, 0) // by a request that was being finished
		if err := list.Destruct(); err != nil || d.saved(t) != a {
			t.Fatalf("saved %q, %v", d.saved(t), err)
		}
	})
}

// A follower that does not keep up is given the whole list instead of a queue without end.
func TestSlowFollower(t *testing.T) {
	list := newBanList()
	f := list.join()
	list.take(f)
	many := make([]ipban.Change, maxPending/2)
	for i := range many {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		many[i].Ban = ipban.Ban{Prefix: prefix}
	}
	list.put(many)
	list.put(many)
	if u := list.take(f); u.Reset || len(u.Changes) != maxPending {
		t.Fatalf("reset %v with %d changes", u.Reset, len(u.Changes))
	}
	list.put(many)
	list.put(many)
	list.put(many)
	if len(f.pending) != 0 {
		t.Fatalf("%d changes are queued", len(f.pending))
	}
	if u := list.take(f); !u.Reset || len(u.Changes) != len(many) || u.Position != 5 {
		t.Fatalf("reset %v with %d changes at %d", u.Reset, len(u.Changes), u.Position)
	}
}

func TestValidatedConfigTouchesNoStorage(t *testing.T) {
	ctx, cancel := caddy.NewContext(gatehousetest.Context(t))
	store, err := ctx.LoadModuleByID("gatehouse.ban_stores.memory", nil)
	if err != nil {
		t.Fatal(err)
	}
	storage := store.(*BanStore).storage
	cancel()
	if keys, err := storage.List(t.Context(), "", true); err != nil || len(keys) != 0 {
		t.Fatalf("found %v, %v", keys, err)
	}
}
