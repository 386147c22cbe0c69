// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban/ipbantest"
)

// banStore is a store upon a client of its own, as another proxy would have.
func banStore(t testing.TB, config *ClientConfig) *BanStore {
	t.Helper()
	client := open(t, config)
	return &BanStore{client: client, keys: []string{
		client.Key("{bans}", "list"), client.Key("{bans}", "changes"), client.Key("{bans}", "ends"),
	}}
}

func TestBanStoreConformance(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	ipbantest.Run(t, func(t *testing.T) ipban.Store {
		if answer, err := server.Command("FLUSHALL"); err != nil || answer != "+OK" {
			t.Fatalf("FLUSHALL answers %s, %v", answer, err)
		}
		return banStore(t, at(server.Address))
	})
}

func TestBanStoreConformanceCluster(t *testing.T) {
	cluster := gatehousetest.StartRedisCluster(t)
	ipbantest.Run(t, func(t *testing.T) ipban.Store {
		config := at("")
		config.URL, config.Cluster, config.Prefix = "", cluster.Addresses(), strings.ReplaceAll(t.Name(), "/", "_")
		return banStore(t, config)
	})
}

func ban(prefix string, expires time.Time) ipban.Change {
	return ipban.Change{Ban: ipban.Ban{Prefix: netip.MustParsePrefix(prefix), Created: time.Now().UTC(), Expires: expires}}
}

func put(t testing.TB, s *BanStore, changes ...ipban.Change) uint64 {
	t.Helper()
	position, err := s.Put(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// startFollow follows a store in the background. It returns the updates and, after its end, the error.
func startFollow(t testing.TB, s *BanStore) (<-chan ipban.Update, <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	updates, ended := make(chan ipban.Update, 100), make(chan error, 1)
	go func() { ended <- s.Follow(ctx, func(u ipban.Update) { updates <- u }) }()
	t.Cleanup(cancel)
	return updates, ended
}

func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(within):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestBansReachAnotherProxy(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	here, there := banStore(t, at(server.Address)), banStore(t, at(server.Address))
	updates, _ := startFollow(t, there)
	receive(t, updates)
	var took []time.Duration
	for i := range 200 {
		change := ban(fmt.Sprintf("203.0.113.%d/32", i), time.Time{})
		begun := time.Now()
		position := put(t, here, change)
		got := receive(t, updates)
		took = append(took, time.Since(begun))
		if got.Reset || got.Position != position || len(got.Changes) != 1 || got.Changes[0].Prefix != change.Prefix {
			t.Fatalf("got %+v at %d", got, position)
		}
	}
	slices.Sort(took)
	t.Logf("from Put to the other proxy: p50 %v, p99 %v", took[len(took)/2], took[len(took)*99/100])
}

func TestBanFeedHealsAfterLosses(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := banStore(t, at(server.Address))
	put(t, s, ban("203.0.113.1/32", time.Time{}), ban("203.0.113.2/32", time.Time{}))
	for name, test := range map[string]struct {
		harm string
		want error
	}{
		"trimmed": {"XTRIM " + s.keys[1] + " MAXLEN 0", errBansLost},
		"flushed": {"FLUSHALL", errBansLost},
	} {
		updates, ended := startFollow(t, s)
		if got := receive(t, updates); !got.Reset {
			t.Fatalf("%s: begins with %+v", name, got)
		}
		if _, err := server.Command(test.harm); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, ended); !errors.Is(err, test.want) {
			t.Fatalf("%s: the feed ended with %v", name, err)
		}
		put(t, s, ban("203.0.113.3/32", time.Time{}), ban("203.0.113.4/32", time.Time{}))
		again, _ := startFollow(t, s)
		if got := receive(t, again); !got.Reset || len(got.Changes) < 2 {
			t.Fatalf("%s: begins again with %+v", name, got)
		}
	}
}

func TestBanFeedNoticesAGap(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := banStore(t, at(server.Address))
	first := put(t, s, ban("203.0.113.1/32", time.Time{}))
	universal, err := s.client.Universal()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		put(t, s, ban(fmt.Sprintf("203.0.113.%d/32", i+2), time.Time{}))
	}
	if _, err := server.Command("XTRIM " + s.keys[1] + " MAXLEN 2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.next(t.Context(), universal, first); !errors.Is(err, errBansTrimmed) {
		t.Fatalf("got %v", err)
	}
	if update, err := s.next(t.Context(), universal, first+3); err != nil || len(update.Changes) != 2 || update.Position != first+5 {
		t.Fatalf("got %+v, %v", update, err)
	}
}

// A Redis that lost its data and was given as much as before has not gone on from where it was.
func TestBanFeedNoticesAnotherStream(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := banStore(t, at(server.Address))
	position := put(t, s, ban("203.0.113.1/32", time.Time{}), ban("203.0.113.2/32", time.Time{}))
	universal, err := s.client.Universal()
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		if answer, err := server.Command("FLUSHALL"); err != nil || answer != "+OK" {
			t.Fatalf("FLUSHALL answers %s, %v", answer, err)
		}
		for i := range n {
			put(t, s, ban(fmt.Sprintf("203.0.113.%d/32", 10+i), time.Time{}))
		}
		if update, err := s.next(t.Context(), universal, position); !errors.Is(err, errBansLost) && !errors.Is(err, errBansTrimmed) {
			t.Errorf("with %d changes since: got %+v, %v", n, update, err)
		}
	}
}

func TestEndedBansAreForgotten(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := banStore(t, at(server.Address))
	put(t, s, ban("203.0.113.1/32", time.Now().Add(-2*banGrace)), ban("203.0.113.2/32", time.Now().Add(-banGrace/2)),
		ban("203.0.113.3/32", time.Now().Add(time.Hour)), ban("203.0.113.4/32", time.Time{}))
	put(t, s, ban("203.0.113.5/32", time.Time{}))
	if answer, err := server.Command("HLEN " + s.keys[0]); err != nil || answer != ":4" {
		t.Fatalf("%s bans are held, %v", answer, err)
	}
	lift := ban("203.0.113.3/32", time.Time{})
	lift.Lift = true
	put(t, s, lift)
	if answer, err := server.Command("ZCARD " + s.keys[2]); err != nil || answer != ":1" {
		t.Fatalf("%s ends are held, %v", answer, err)
	}
}

func TestForeignRecordsEndTheFeed(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := banStore(t, at(server.Address))
	for _, record := range []string{"nonsense", "-", `{"prefix":"203.0.113.7/32"}`, "203.0.113.7/24\t1\t0\t\t", "-203.0.113.7/24"} {
		ask(t, s.client, "HSET", s.keys[0], "x", record)
		err := s.Follow(t.Context(), func(ipban.Update) { t.Error("an update came") })
		if err == nil {
			t.Errorf("%s: no error", record)
		}
	}
}

func FuzzReadBan(f *testing.F) {
	f.Add("203.0.113.7/32\t1\t0\tlogins\tguessing\t3\t99")
	f.Add("-203.0.113.7/32")
	f.Fuzz(func(t *testing.T, record string) {
		change, err := readBan(record)
		if err != nil {
			return
		}
		if p := change.Prefix; !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			t.Fatalf("%q gave %v", record, p)
		}
		if again, err := readBan(string(writeBan(change))); err != nil || again != change {
			t.Fatalf("%q is %+v, and written and read again %+v, %v", record, change, again, err)
		}
	})
}

func TestBansThroughTheProxyWithoutRedis(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	config := "{\n" + option(server.URL()) + "\n servers {\n trusted_proxies static 127.0.0.1\n trusted_proxies_strict\n }\n}\n" +
		":8080 {\n ip_ban\n respond ok\n}"
	s := gatehousetest.Start(t, config)
	if got := s.Admin(http.MethodPost, "/gatehouse/bans", `{"prefixes":["203.0.113.7"]}`); got.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", got.StatusCode, got.Body)
	}
	banned := func() int { return s.Get("/", "X-Forwarded-For: 203.0.113.7").StatusCode }
	if got := banned(); got != http.StatusForbidden {
		t.Fatalf("a banned client gets %d", got)
	}
	server.Kill()
	if got := banned(); got != http.StatusForbidden {
		t.Fatalf("without Redis a banned client gets %d", got)
	}
	if got := s.Get("/").StatusCode; got != http.StatusOK {
		t.Fatalf("without Redis another client gets %d", got)
	}
	if got := s.Admin(http.MethodPost, "/gatehouse/bans", `{"prefixes":["203.0.113.8"]}`); got.StatusCode < 500 {
		t.Fatalf("a ban that cannot be recorded gives %d %s", got.StatusCode, got.Body)
	}
	if err := s.Reload(config); err != nil {
		t.Fatalf("without Redis a reload fails: %v", err)
	}
	if got := banned(); got != http.StatusForbidden {
		t.Fatalf("after a reload without Redis a banned client gets %d", got)
	}
	server.Start() // empty, as it was started without persistence: the list follows it
	eventually(t, "the empty list arrives", func() bool { return banned() == http.StatusOK })
}

// A list is handed over in parts, so that one that is longer than the host wants is never held here whole.
func TestBanListComesInParts(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := banStore(t, at(server.Address))
	const n = 5 * banPage
	changes := make([]ipban.Change, n)
	for i := range changes {
		changes[i] = ban(fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255), time.Time{})
	}
	last := put(t, s, changes...)
	updates, _ := startFollow(t, s)
	for parts, seen := 1, 0; ; parts++ {
		got := receive(t, updates)
		seen += len(got.Changes)
		if got.Reset != (parts == 1) || len(got.Changes) > 2*banPage {
			t.Fatalf("part %d: reset %v, %d bans", parts, got.Reset, len(got.Changes))
		}
		if got.More {
			continue
		}
		if parts < 3 || seen < n || got.Position != last {
			t.Errorf("%d bans in %d parts, up to %d", seen, parts, got.Position)
		}
		return
	}
}

// What is over and still counts is kept until it does not.
func TestRememberedBansAreKept(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := banStore(t, at(server.Address))
	over := func(prefix string, remembered time.Time) ipban.Change {
		c := ban(prefix, time.Now().Add(-2*banGrace))
		c.Level, c.Remembered = 2, remembered
		return c
	}
	put(t, s, over("203.0.113.1/32", time.Now().Add(-2*banGrace)), over("203.0.113.2/32", time.Now().Add(time.Hour)))
	put(t, s, ban("203.0.113.3/32", time.Time{}))
	updates, _ := startFollow(t, s)
	got := receive(t, updates)
	if len(got.Changes) != 2 || !slices.ContainsFunc(got.Changes, func(c ipban.Change) bool { return c.Level == 2 }) {
		t.Errorf("the list is %+v", got.Changes)
	}
}

// BenchmarkBanList reads a list of 100,000 bans into a table, as a proxy does that starts.
func BenchmarkBanList(b *testing.B) {
	server := gatehousetest.StartRedis(b)
	s := banStore(b, at(server.Address))
	const n = 100_000
	changes := make([]ipban.Change, n)
	for i := range changes {
		changes[i] = ban(fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255), time.Now().Add(time.Hour))
		changes[i].Reason, changes[i].Source = "3 strikes in 10m0s", "logins"
	}
	put(b, s, changes...)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		seen := 0
		_ = s.Follow(ctx, func(u ipban.Update) {
			if seen += len(u.Changes); !u.More {
				cancel()
			}
		})
		if seen < n {
			b.Fatalf("%d bans came", seen)
		}
	}
}
