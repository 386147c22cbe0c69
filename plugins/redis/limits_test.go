// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/reqlimittest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window/traces"
)

// figuresCount reports whether figures that depend on the clock fail a test: with GATEHOUSE_FIGURES=1, on an idle machine.
// Elsewhere they are logged.
func figuresCount() bool { return os.Getenv("GATEHOUSE_FIGURES") != "" }

// limitStore makes a store upon a client; the client is shared by all stores of a test, as in a config.
func limitStore(t testing.TB, c *Client, mode string) *LimitStore {
	t.Helper()
	s := &LimitStore{Mode: mode, Overshoot: defaultOvershoot, client: c}
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pooled puts a client into the pool, as an app does, so that what lives longer than a config can hold it.
func pooled(t testing.TB, config *ClientConfig) *Client {
	t.Helper()
	s, err := config.resolve("test", caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	c, l, err := lease.Take(clients, s.key(), func() (*Client, error) { return newClient(s, zap.NewNop()), nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Release(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return c
}

func TestLimitStore(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	t.Run("atomic", func(t *testing.T) {
		c := shared(t, server.Address, "atomic")
		reqlimittest.Run(t, func(t *testing.T) reqlimit.Store { return limitStore(t, c, limitsAtomic) },
			reqlimit.Sliding, reqlimit.Exact, reqlimit.Smooth, reqlimit.GCRA, reqlimit.Concurrency)
	})
	if answer, err := server.Command("DBSIZE"); err != nil || answer == ":0" {
		t.Fatalf("the store keeps nothing: %s %v", answer, err)
	}
	everyKeyExpires(t, server)
}

// shared makes a client that is told apart by its prefix.
func shared(t testing.TB, address, prefix string) *Client {
	t.Helper()
	config := at(address)
	config.Prefix = prefix
	return pooled(t, config)
}

// everyKeyExpires fails if a key has no time to live.
func everyKeyExpires(t *testing.T, server *gatehousetest.Redis) {
	t.Helper()
	answer, err := server.Command(`EVAL "local n = 0 for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('PTTL', k) < 0 then n = n + 1 end end return n" 0`)
	if err != nil || answer != ":0" {
		t.Errorf("keys without an end: %s %v", answer, err)
	}
}

// virtual is a counter whose script reads the time from a key.
type virtual struct {
	t      *testing.T
	client *Client
	*limitCounters
	rule window.Rule
	key  string
}

func newVirtual(t *testing.T, c *Client, spec reqlimit.Spec, rule window.Rule) *virtual {
	t.Helper()
	counters, err := newLimitCounters(&hub{client: c, key: c.Key("proxies")}, spec)
	if err != nil {
		t.Fatal(err)
	}
	counters.hub.begun.Store(true) // no heartbeat
	source := strings.Replace(counters.script.source, "redis.call('TIME')", "redis.call('HMGET', 'clock', 's', 'us')", 1)
	if source == counters.script.source {
		t.Fatal("the script does not ask for the time")
	}
	counters.script = NewScript(source)
	return &virtual{t: t, client: c, limitCounters: counters, rule: rule, key: t.Name()}
}

// take decides at a time.
func (v *virtual) take(now time.Duration, cost int64) window.Result {
	us := now.Microseconds()
	ask(v.t, v.client, "HSET", "clock", "s", us/1e6, "us", us%1e6)
	var result window.Result
	err := v.Take(context.Background(), &reqlimit.Ask{Key: []byte(v.key), Rule: &v.rule, Cost: cost}, &result)
	if err != nil {
		v.t.Fatal(err)
	}
	return result
}

// TestScriptsCountAsWindowsDo sends the same traffic to a script and to the arithmetic in Go: they decide alike.
func TestScriptsCountAsWindowsDo(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	const limit, period = 20, time.Minute
	// A tick of exact is a millionth of a period, cut to whole microseconds in Redis; it is none to cut with this one.
	const even = 1 << 26 * time.Microsecond
	sliding := window.Sliding{Buckets: window.DefaultBuckets}
	for name, test := range map[string]struct {
		algorithm window.Algorithm
		words     int
		window    window.Window
	}{
		reqlimit.Sliding: {sliding, sliding.Words(), window.Window{Limit: limit, Period: period}},
		reqlimit.Exact:   {window.Exact{}, window.Exact{}.Words(limit), window.Window{Limit: limit, Period: even}},
		reqlimit.Smooth:  {window.Smooth{}, window.Smooth{}.Words(), window.Window{Limit: limit, Period: period}},
		reqlimit.GCRA:    {window.GCRA{}, window.GCRA{}.Words(), window.Window{Limit: limit, Period: period, Burst: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := reqlimit.Spec{Policy: "virtual", Algorithm: name, Windows: 1, Limit: limit}
			if name == reqlimit.Sliding {
				spec.Buckets = window.DefaultBuckets
			}
			v := newVirtual(t, c, spec, window.NewRule(test.window))
			for i, trace := range traces.All(limit, period) {
				v.key = fmt.Sprint(name, i)
				words, n := make([]uint32, test.words), 0
				trace.Run(uint64(i), func(now time.Duration) bool {
					if n++; n > sized(1500, 200) {
						return false
					}
					now = now.Truncate(time.Microsecond)
					var want window.Result
					window.Decide(test.algorithm, words, test.words, &v.rule, int64(now), 1, false, &want)
					got := v.take(now, 1)
					if got.Allowed != want.Allowed || got.States[0].Remaining != want.States[0].Remaining ||
						far(got.Retry, want.Retry) || far(got.States[0].Reset, want.States[0].Reset) {
						t.Fatalf("%s, request %d: the script says %+v, Go says %+v", trace.Name, n, got, want)
					}
					return got.Allowed
				})
			}
		})
	}
}

// far reports whether two times differ by more than the rounding of microseconds.
func far(a, b time.Duration) bool { return a-b > 3*time.Microsecond || b-a > 3*time.Microsecond }

// TestScriptsNeverExceed holds what window's test of the same name holds, for the lists of exact too.
func TestScriptsNeverExceed(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	const limit, period = 20, time.Minute
	for _, name := range []string{reqlimit.Sliding, reqlimit.Exact} {
		t.Run(name, func(t *testing.T) {
			spec := reqlimit.Spec{Policy: "virtual", Algorithm: name, Windows: 1, Limit: limit}
			if name == reqlimit.Sliding {
				spec.Buckets = window.DefaultBuckets
			}
			v := newVirtual(t, c, spec, window.NewRule(window.Window{Limit: limit, Period: period}))
			for i, trace := range traces.All(limit, period) {
				v.key = fmt.Sprint(name, " exceed ", i)
				n := 0
				passed := trace.Run(uint64(i), func(now time.Duration) bool {
					if n++; n > sized(3000, 400) {
						return false
					}
					return v.take(now.Truncate(time.Microsecond), 1).Allowed
				})
				over := traces.WorstOver(passed, limit, period)
				t.Logf("%s: %d of %d passed, worst trailing window %d over", trace.Name, len(passed), n, over)
				if over > 0 || len(passed) < limit {
					t.Errorf("%s: %d passed, %d over the limit", trace.Name, len(passed), over)
				}
			}
		})
	}
}

// TestBurstHasRoom holds that a key that has sent nothing may send its burst at once, whatever fractions its rate comes to.
func TestBurstHasRoom(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	for _, w := range []window.Window{
		{Limit: 33, Period: 100 * time.Millisecond, Burst: 7},
		{Limit: 61, Period: 100 * time.Millisecond, Burst: 49},
		{Limit: 58, Period: 100 * time.Millisecond, Burst: 5},
		{Limit: window.MaxLimit, Period: window.MaxPeriod, Burst: window.MaxLimit},
		{Limit: 1, Period: window.MaxPeriod, Burst: 1},
		{Limit: window.MaxLimit, Period: time.Second, Burst: window.MaxLimit},
	} {
		spec := reqlimit.Spec{Policy: "burst", Algorithm: reqlimit.GCRA, Windows: 1, Limit: w.Limit}
		v := newVirtual(t, c, spec, window.NewRule(w))
		v.key = fmt.Sprint(w)
		now := 500_000 * time.Hour
		if r := v.take(now, w.Burst); !r.Allowed || r.States[0].Remaining != 0 {
			t.Errorf("%+v: a burst of a key that has sent nothing: %+v", w, r)
		}
		if r := v.take(now+w.Period*time.Duration(w.Burst)/time.Duration(w.Limit)+time.Microsecond, w.Burst); w.Limit < 100 && !r.Allowed {
			t.Errorf("%+v: a burst after the first has drained: %+v", w, r)
		}
	}
}

// TestClockSetBack holds that a key is not refused for as long as Redis' clock was set back: two periods are enough for anybody.
// GCRA keeps nothing but the time when all has drained, of which nobody can tell whether it was meant.
func TestClockSetBack(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	const limit, period = 20, time.Minute
	for _, name := range []string{reqlimit.Sliding, reqlimit.Exact, reqlimit.Smooth} {
		t.Run(name, func(t *testing.T) {
			w := window.Window{Limit: limit, Period: period}
			spec := reqlimit.Spec{Policy: "virtual", Algorithm: name, Windows: 1, Limit: limit}
			if name == reqlimit.Sliding {
				spec.Buckets = window.DefaultBuckets
			}
			for _, back := range []time.Duration{time.Second, period / 2, period, 3 * period, 24 * time.Hour, 4000 * time.Hour} {
				v := newVirtual(t, c, spec, window.NewRule(w))
				v.key = fmt.Sprint(name, back)
				now := 500_000 * time.Hour
				for v.take(now, 1).Allowed {
				}
				now -= back
				v.take(now, 1)
				if now += 2*period + period/window.DefaultBuckets + time.Second; !v.take(now, 1).Allowed {
					t.Errorf("two periods after the clock was set back by %s the key is still refused", back)
				}
			}
		})
	}
}

// TestSumsDoNotOverflow counts refused requests of a key until four bytes do not hold the sum.
func TestSumsDoNotOverflow(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	spec := sliding("sums", window.MaxLimit)
	spec.Always = true
	v := newVirtual(t, c, spec, window.NewRule(window.Window{Limit: window.MaxLimit, Period: time.Minute}))
	now := 500_000 * time.Hour
	for i := range 5 {
		now += 4 * time.Second
		if r := v.take(now, window.MaxLimit); r.Allowed != (i == 0) {
			t.Fatalf("request %d: %+v", i, r)
		}
	}
	if r := v.take(now, 1e8); r.Allowed {
		t.Errorf("it passes after five times the limit was counted: %+v", r)
	}
}

// TestRulesOfOneKey holds that giving back under a low limit takes nothing away from what was counted under a high one.
func TestRulesOfOneKey(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	v := newVirtual(t, c, sliding("rules", 1000), window.NewRule(window.Window{Limit: 10, Period: time.Minute}))
	low, high := v.rule, window.NewRule(window.Window{Limit: 1000, Period: time.Minute})
	now := 500_000 * time.Hour
	first := v.take(now, 1)
	v.rule = high
	v.take(now, 900)
	if err := v.Give(t.Context(), &reqlimit.Ask{Key: []byte(v.key), Rule: &low, Cost: 1}, &first.Receipt); err != nil {
		t.Fatal(err)
	}
	if r := v.take(now, 0); r.States[0].Remaining != 100 {
		t.Errorf("%d of 1000 remain after 900", r.States[0].Remaining)
	}
}

// TestLimitMemory measures what Redis holds a key.
func TestLimitMemory(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := pooled(t, at(server.Address))
	for _, test := range []struct {
		algorithm string
		limit     int64
		most      int64
	}{
		{reqlimit.Sliding, 10, 140},
		{reqlimit.Sliding, 1000, 140},
		{reqlimit.Sliding, 60_000, 140},
		{reqlimit.Smooth, 1000, 140},
		{reqlimit.GCRA, 1000, 140},
		{reqlimit.Exact, 1000, 11 << 10},
	} {
		counters, err := newLimitCounters(&hub{client: c}, reqlimit.Spec{
			Policy: fmt.Sprint("memory", test.limit), Algorithm: test.algorithm, Buckets: window.DefaultBuckets, Windows: 1, Limit: test.limit,
		})
		if err != nil {
			t.Fatal(err)
		}
		counters.hub.begun.Store(true)
		w := window.Window{Limit: test.limit, Period: time.Hour}
		if test.algorithm == reqlimit.GCRA {
			w.Burst = test.limit
		}
		rule := window.NewRule(w)
		a := &reqlimit.Ask{Key: []byte("203.0.113.7"), Rule: &rule, Cost: 1}
		var result window.Result
		for range min(test.limit, 1000) {
			if err := counters.Take(t.Context(), a, &result); err != nil || !result.Allowed {
				t.Fatal(err, result)
			}
		}
		key := counters.keys(a)[0]
		var used int64
		if _, err := fmt.Sscan(ask(t, c, "MEMORY", "USAGE", key), &used); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, limit %d: %d bytes with a key of %d", test.algorithm, test.limit, used, len(key))
		if used > test.most {
			t.Errorf("%s, limit %d: %d bytes, want at most %d", test.algorithm, test.limit, used, test.most)
		}
	}
}
