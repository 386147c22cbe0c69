// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window/traces"
)

// proxy makes the counters of one of several proxies of a test: each has a client, and so a hub, of its own.
func proxy(t testing.TB, server *gatehousetest.Redis, i int, mode string, spec reqlimit.Spec) reqlimit.Counters {
	t.Helper()
	config := at(server.Address)
	config.Timeout += caddy.Duration(i) // tells it apart
	counters, err := limitStore(t, pooled(t, config), mode).Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	return counters
}

func sliding(policy string, limit int64) reqlimit.Spec {
	return reqlimit.Spec{Policy: policy, Algorithm: reqlimit.Sliding, Buckets: window.DefaultBuckets, Windows: 1, Limit: limit}
}

// look asks Redis itself how much of a limit is left.
func look(t testing.TB, server *gatehousetest.Redis, spec reqlimit.Spec, rule *window.Rule, key string) int64 {
	t.Helper()
	counters, err := newLimitCounters(&hub{client: open(t, at(server.Address))}, spec)
	if err != nil {
		t.Fatal(err)
	}
	counters.hub.begun.Store(true)
	var result window.Result
	if err := counters.Take(t.Context(), &reqlimit.Ask{Key: []byte(key), Rule: rule}, &result); err != nil {
		t.Fatal(err)
	}
	return result.States[0].Remaining
}

// TestLeaseFailsTogether holds that requests that wait for one lease fail with it, and not one after the other.
func TestLeaseFailsTogether(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	config := at(server.Address)
	config.Timeout = caddy.Duration(200 * time.Millisecond)
	counters, err := limitStore(t, pooled(t, config), limitsLease).Open(sliding("together", 100))
	if err != nil {
		t.Fatal(err)
	}
	rule := window.NewRule(window.Window{Limit: 100, Period: time.Hour})
	take := func(key string) error {
		return counters.Take(t.Context(), &reqlimit.Ask{Key: []byte(key), Rule: &rule, Cost: 1}, new(window.Result))
	}
	eventually(t, "Redis answers", func() bool { return take("warm") == nil })
	server.Pause()
	defer server.Resume()
	begun := time.Now()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if err := take("k"); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if took := time.Since(begun); took > 5*time.Second { // one after the other they take ten
		t.Errorf("50 requests failed after %v, want a few timeouts at most", took)
	}
}

// TestLeaseKeepsLimits: with one proxy and one key at a time, a lease counts as an atomic store does, save that what is leased
// and not spent is not left in Redis.
func TestLeaseKeepsLimits(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	spec := sliding("keeps", 40)
	rule := window.NewRule(window.Window{Limit: 40, Period: time.Hour})
	proxies := []reqlimit.Counters{proxy(t, server, 0, limitsLease, spec), proxy(t, server, 1, limitsLease, spec)}
	passed := 0
	for i := range 200 {
		var result window.Result
		a := &reqlimit.Ask{Key: []byte("k"), Rule: &rule, Cost: int64(1 + i%2)}
		if err := proxies[i%2].Take(t.Context(), a, &result); err != nil {
			t.Fatal(err)
		}
		if result.Allowed {
			passed += 1 + i%2
		} else if result.Retry <= 0 || result.Violated != 0 {
			t.Fatalf("a refusal without a reason: %+v", result)
		}
	}
	if passed > 40 || passed < 37 {
		t.Errorf("%d passed, want 40 less what the other proxy has leased", passed)
	}
}

// TestLeaseGivesBack holds that what is not spent goes back: half a second later, and at the end.
func TestLeaseGivesBack(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	const limit = 10_000
	spec := sliding("gives", limit)
	rule := window.NewRule(window.Window{Limit: limit, Period: time.Hour})
	counters := proxy(t, server, 0, limitsLease, spec)
	take := func(key string, n int) {
		for range n {
			var result window.Result
			if err := counters.Take(t.Context(), &reqlimit.Ask{Key: []byte(key), Rule: &rule, Cost: 1}, &result); err != nil || !result.Allowed {
				t.Fatal(err, result)
			}
		}
	}
	take("a", 1)
	eventually(t, "the proxy knows that it is alone", func() bool { return counters.(reqlimit.Shared).Proxies() == 1 })
	take("a", 99)
	if left := look(t, server, spec, &rule, "a"); left >= limit-100 {
		t.Fatalf("nothing is leased: %d are left of %d after 100", left, limit)
	}
	eventually(t, "what was not spent is given back", func() bool { return look(t, server, spec, &rule, "a") == limit-100 })

	take("b", 100)
	held := counters.(*lots)
	held.end(t.Context())
	if left := look(t, server, spec, &rule, "b"); left != limit-100 {
		t.Errorf("after the end %d are left, want %d", left, limit-100)
	}
	eventually(t, "idle keys are forgotten", func() bool {
		n := 0
		for i := range held.shards {
			held.shards[i].mu.Lock()
			n += len(held.shards[i].lots)
			held.shards[i].mu.Unlock()
		}
		return n == 0
	})
}

// TestLeaseOvershoot lets four proxies compete for a limit that is far too low for them, over several windows: in no trailing
// window do they pass more than the overshoot allows, and they use nearly all that there is, which fails the test where figures
// are measured: a machine that is busy may not send as many.
func TestLeaseOvershoot(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	const limit, period, proxies = 4000, 2 * time.Second, 4
	spec := sliding("overshoot", limit)
	rule := window.NewRule(window.Window{Limit: limit, Period: period})
	var mu sync.Mutex
	var passed []time.Duration
	begun := time.Now()
	var group sync.WaitGroup
	var counters []reqlimit.Counters
	for i := range proxies {
		counters = append(counters, proxy(t, server, i, limitsLease, spec))
	}
	for _, c := range counters {
		for range 4 {
			group.Go(func() {
				var mine []time.Duration
				for time.Since(begun) < 4*period {
					var result window.Result
					at := time.Since(begun)
					if err := c.Take(context.Background(), &reqlimit.Ask{Key: []byte("k"), Rule: &rule, Cost: 1}, &result); err != nil {
						t.Error(err)
						return
					}
					if result.Allowed {
						mine = append(mine, at)
					}
					time.Sleep(500 * time.Microsecond)
				}
				mu.Lock()
				passed = append(passed, mine...)
				mu.Unlock()
			})
		}
	}
	group.Wait()
	slices.Sort(passed)
	over := traces.WorstOver(passed, limit, period)
	// Each of the four windows begins to free a bucket late: 16/15 of a period.
	least := limit * 4 * 15 / 16 * 95 / 100
	t.Logf("%d passed in 4 windows of %d, worst trailing window %d over", len(passed), limit, over)
	if !figuresCount() {
		least = limit / 2
	}
	if over > limit/20 || len(passed) < least {
		t.Errorf("%d passed (want at least %d), %d over the limit (want at most %d)", len(passed), least, over, limit/20)
	}
}

// TestLeasesOfClasses holds that what is leased under a high limit is not spent under a low one, and that a refusal under the low
// one is none under the high one.
func TestLeasesOfClasses(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	counters := proxy(t, server, 0, limitsLease, sliding("classes", 100_000))
	gold := window.NewRule(window.Window{Limit: 60_000, Period: time.Hour})
	free := window.NewRule(window.Window{Limit: 5, Period: time.Hour})
	take := func(rule *window.Rule) bool {
		var result window.Result
		if err := counters.Take(t.Context(), &reqlimit.Ask{Key: []byte("k"), Rule: rule, Cost: 1}, &result); err != nil {
			t.Fatal(err)
		}
		return result.Allowed
	}
	take(&gold)
	eventually(t, "the proxy knows that it is alone", func() bool { return counters.(reqlimit.Shared).Proxies() == 1 })
	for i := range 200 {
		if !take(&gold) {
			t.Fatalf("request %d under the high limit is refused", i)
		}
		if i > 10 && take(&free) {
			t.Fatalf("a request passes under a limit of 5 after %d", i)
		}
	}
}

func TestLeaseRefusesWhatCannotBeLeased(t *testing.T) {
	c := pooled(t, at("127.0.0.1:1"))
	for _, spec := range []reqlimit.Spec{
		{Policy: "p", Algorithm: reqlimit.Exact, Windows: 1},
		{Policy: "p", Algorithm: reqlimit.Concurrency, Windows: 1},
		{Policy: "p", Algorithm: reqlimit.Sliding, Buckets: 15, Windows: 1, Always: true},
	} {
		if _, err := limitStore(t, c, limitsLease).Open(spec); err == nil || !strings.Contains(err.Error(), "lease") {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}

// TestDeadProxyFreesItsPlaces holds that requests in flight of a proxy that is gone do not count for ever, and that those of one
// that lives are renewed.
func TestDeadProxyFreesItsPlaces(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	rule := window.NewRule(window.Window{Limit: 2})
	a := &reqlimit.Ask{Key: []byte("k"), Rule: &rule, Cost: 1}
	make := func(id string) *inflight {
		h := &hub{client: c, id: id}
		h.begun.Store(true)
		return newInflight(h, reqlimit.Spec{Policy: "held", Algorithm: reqlimit.Concurrency})
	}
	take := func(f *inflight) bool {
		var result window.Result
		if err := f.Take(t.Context(), a, &result); err != nil {
			t.Fatal(err)
		}
		return result.Allowed
	}
	dead, alive := make("dead"), make("alive")
	if !take(dead) || !take(alive) || take(alive) {
		t.Fatal("two places")
	}
	key := alive.key(a)
	ask(t, c, "HSET", key, "dead", "1 1000") // its time is over
	if !take(alive) || take(alive) {
		t.Error("the place of a proxy that is gone was not freed")
	}
	ask(t, c, "DEL", key) // as after a restart of Redis
	alive.renewed = time.Time{}
	alive.tick(t.Context())
	if got := ask(t, c, "HGET", key, "alive"); !strings.HasPrefix(got, "2 ") {
		t.Errorf("what is held was not told anew: %q", got)
	}
	if err := alive.Give(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	alive.end(t.Context())
	if got := ask(t, c, "EXISTS", key); got != "0" {
		t.Error("what was held is still counted after the end")
	}
}

// TestRenewalLosesNothing tells Redis anew what is held while more is taken: nothing of that is lost.
func TestRenewalLosesNothing(t *testing.T) {
	const keys = 1000
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	h := &hub{client: c, id: "proxy"}
	h.begun.Store(true)
	f := newInflight(h, reqlimit.Spec{Policy: "renewal", Algorithm: reqlimit.Concurrency})
	rule := window.NewRule(window.Window{Limit: 10})
	take := func(i int) *reqlimit.Ask {
		a := &reqlimit.Ask{Key: fmt.Append(nil, i), Rule: &rule, Cost: 1}
		var result window.Result
		if err := f.Take(t.Context(), a, &result); err != nil || !result.Allowed {
			t.Fatal(err, result)
		}
		return a
	}
	for i := range keys {
		take(i)
	}
	f.renewed = time.Time{}
	var group sync.WaitGroup
	group.Go(func() { f.tick(t.Context()) })
	for i := range keys {
		take(i)
	}
	group.Wait()
	f.tick(t.Context()) // what changed meanwhile
	for i := range keys {
		key := f.key(&reqlimit.Ask{Key: fmt.Append(nil, i)})
		if got := ask(t, c, "HGET", key, "proxy"); !strings.HasPrefix(got, "2 ") {
			t.Fatalf("of key %d two are held, Redis has %q", i, got)
		}
	}
	// What cannot be told is not forgotten.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, key := range []string{"a", "b", "c"} {
		f.change(key)
	}
	f.tick(over)
	if n := len(f.due(time.Now())); n != 3 {
		t.Errorf("%d keys are to be told after a failure, want 3", n)
	}
}

// TestLimitsFromAHash reads a customer's limits from Redis, changes them while the proxy runs, and takes nonsense for nothing.
func TestLimitsFromAHash(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	table := c.Key("limits", "plans")
	ask(t, c, "HSET", table, "gold", "3 1h", "staff", "unlimited", "broken", "3 1 hour please", "slow", "2 2h")
	s := gatehousetest.Start(t, fmt.Sprintf(`{
		%s
	}
	:8080 {
		request_limit hash {
			key {header.X-Key}
			window 1 1h
			limits {header.X-Plan} plans {
				refresh 100ms
				silver 2 1h
			}
		}
		respond ok
	}`, option(server.URL())))
	passed := func(key, plan string) (n int) {
		for range 6 {
			if s.Get("/", "X-Key: "+key, "X-Plan: "+plan).StatusCode == 200 {
				n++
			}
		}
		return n
	}
	for plan, want := range map[string]int{"gold": 3, "silver": 2, "staff": 6, "broken": 1, "none": 1, "": 1, "slow": 2} {
		if got := passed(plan+" key", plan); got != want {
			t.Errorf("%q: %d passed, want %d", plan, got, want)
		}
	}
	const slow = "/gatehouse/limits/hash/slow%20key"
	if got := s.Admin(http.MethodGet, slow, "").Body; !strings.Contains(got, `"class":"slow","window":"2/2h","remaining":0,"used":2`) {
		t.Errorf("an operator is not shown the counts of a plan: %s", got)
	}
	s.Admin(http.MethodDelete, slow, "")
	if got := passed("slow key", "slow"); got != 2 {
		t.Errorf("%d passed after a reset, want 2", got)
	}
	ask(t, c, "HSET", table, "gold", "5 1h")
	eventually(t, "the new limit holds", func() bool { return s.Get("/", "X-Key: gold key", "X-Plan: gold").StatusCode == 200 })
	server.Kill()
	if got := passed("after", "gold"); got < 5 {
		t.Errorf("while Redis is away the plan is forgotten: %d passed", got)
	}
}

// BenchmarkRedisLimits compares a decision with PING, from 64 goroutines: `pool` is the driver's own pool, one command a round
// trip; the others batch. The three windows of one decision are also asked for one by one.
func BenchmarkRedisLimits(b *testing.B) {
	server := gatehousetest.StartRedis(b)
	config := at(server.Address)
	c := pooled(b, config)
	plain := poolOf(b, server.Address)
	const keys = 1000
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "203.0.%d.%d", i>>8, i&255)
	}
	var next atomic.Int64
	decide := func(counters reqlimit.Counters, rules ...*window.Rule) func() error {
		return func() error {
			var result window.Result
			key := names[next.Add(1)%keys]
			for _, rule := range rules {
				if err := counters.Take(context.Background(), &reqlimit.Ask{Key: key, Rule: rule, Cost: 1}, &result); err != nil {
					return err
				}
			}
			return nil
		}
	}
	open := func(name, algorithm string, windows int) reqlimit.Counters {
		spec := sliding(name, window.MaxLimit)
		if spec.Algorithm = algorithm; algorithm != reqlimit.Sliding {
			spec.Buckets = 0
		}
		spec.Windows = windows
		counters, err := limitStore(b, c, limitsAtomic).Open(spec)
		if err != nil {
			b.Fatal(err)
		}
		return counters
	}
	rule := func(windows ...window.Window) *window.Rule { r := window.NewRule(windows...); return &r }
	hour := func(n int) window.Window { return window.Window{Limit: 60_000, Period: time.Duration(n) * time.Hour} }
	for _, bench := range []struct {
		name string
		f    func() error
	}{
		{"PING/pool", func() error { return plain.Ping(context.Background()).Err() }},
		{"PING/batched", func() error { _, err := c.Do(context.Background(), "PING"); return err }},
		{"sliding", decide(open("bench", reqlimit.Sliding, 1), rule(hour(1)))},
		{"smooth", decide(open("bench", reqlimit.Smooth, 1), rule(hour(1)))},
		{"exact", decide(open("bench", reqlimit.Exact, 1), rule(window.Window{Limit: 100, Period: time.Hour}))},
		{"three windows/one call", decide(open("together", reqlimit.Sliding, 3), rule(hour(1), hour(2), hour(3)))},
		{"three windows/three calls", decide(open("apart", reqlimit.Sliding, 1), rule(hour(1)), rule(hour(2)), rule(hour(3)))},
	} {
		b.Run(bench.name, func(b *testing.B) { run(b, 32, bench.f) })
	}
}

// BenchmarkLease decides by leases, with Redis on the same machine: on keys with limits that suffice, and far over the limit.
func BenchmarkLease(b *testing.B) {
	for _, bench := range []struct {
		name  string
		limit int64
		keys  int
	}{{"enough", window.MaxLimit, 200}, {"overload", 60_000, 200}} {
		b.Run(bench.name, func(b *testing.B) {
			server := gatehousetest.StartRedis(b)
			spec := sliding("lease", bench.limit)
			rule := window.NewRule(window.Window{Limit: bench.limit, Period: time.Minute})
			counters := proxy(b, server, 0, limitsLease, spec)
			names := make([][]byte, bench.keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "203.0.%d.%d", i>>8, i&255)
			}
			warm := &reqlimit.Ask{Key: names[0], Rule: &rule, Cost: 1}
			if err := counters.Take(context.Background(), warm, new(window.Result)); err != nil {
				b.Fatal(err)
			}
			eventually(b, "the proxy is known", func() bool { return counters.(reqlimit.Shared).Proxies() == 1 })
			before := calls(b, server)
			b.ReportAllocs()
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				var result window.Result
				ask := reqlimit.Ask{Rule: &rule, Cost: 1}
				for i := 0; pb.Next(); i++ {
					ask.Key = names[i%len(names)]
					if err := counters.Take(context.Background(), &ask, &result); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(calls(b, server)-before)/float64(b.N), "round-trips/decision")
		})
	}
}
