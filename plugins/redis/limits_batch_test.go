// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// TestBatchDecidesAsOneByOne makes the same decisions in one call and in a call each: takes and gives, of few keys, under
// rules with one and with two windows, while time passes. The answers and what Redis holds are the same.
func TestBatchDecidesAsOneByOne(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	client := open(t, at(server.Address))
	rules := []window.Rule{
		window.NewRule(window.Window{Limit: 20, Period: time.Minute}),
		window.NewRule(window.Window{Limit: 15, Period: time.Minute}),
		window.NewRule(window.Window{Limit: 12, Period: 10 * time.Second}, window.Window{Limit: 100_000, Period: time.Hour}),
	}
	for _, algorithm := range []string{reqlimit.Sliding, reqlimit.Exact, reqlimit.Smooth, reqlimit.GCRA} {
		for _, always := range []bool{false, true} {
			name := fmt.Sprint(algorithm, " ", always)
			t.Run(name, func(t *testing.T) {
				spec := reqlimit.Spec{Policy: name, Algorithm: algorithm, Buckets: 7, Windows: 2, Always: always}
				v := newVirtual(t, client, spec, rules[0])
				togetherAndApart(t, &batchTrial{virtual: v, random: rand.New(rand.NewPCG(1, 2)), rules: rules})
			})
		}
	}
}

func togetherAndApart(t *testing.T, trial *batchTrial) {
	granted, refused := 0, 0
	for now := 500_000 * time.Hour; now < 500_000*time.Hour+2*time.Minute; now += time.Duration(trial.random.Int64N(int64(5 * time.Second))) {
		ask(t, trial.client, "HSET", "clock", "s", now.Microseconds()/1e6, "us", now.Microseconds()%1e6)
		together, apart := make([]*decision, maxBatch), make([]*decision, maxBatch)
		for i := range together {
			together[i], apart[i] = trial.draw()
		}
		settle(t, trial.limitCounters, together)
		for i, d := range apart {
			settle(t, trial.limitCounters, apart[i:i+1])
			if got := together[i]; got.granted != d.granted || got.state != d.state || got.now != d.now {
				t.Fatalf("decision %d at %v: together %d %q, apart %d %q", i, now, got.granted, got.state, d.granted, d.state)
			}
			switch {
			case d.give:
			case d.granted >= 0:
				granted++
				trial.counted = append(trial.counted, d)
			default:
				refused++
			}
		}
	}
	if granted < 100 || refused < 100 {
		t.Errorf("%d granted and %d refused: that shows little", granted, refused)
	}
}

// batchTrial draws decisions.
type batchTrial struct {
	*virtual
	random  *rand.Rand
	rules   []window.Rule
	counted []*decision
}

// draw draws from few keys, so that several decisions of a batch meet. It returns two decisions that are alike, on keys of
// their own.
func (b *batchTrial) draw() (together, apart *decision) {
	r := b.random
	rule := &b.rules[r.IntN(len(b.rules))]
	d := decision{keys: b.keys(&reqlimit.Ask{Key: fmt.Append(nil, r.IntN(4)), Rule: rule}), rule: rule, low: r.Int64N(4)}
	d.high = d.low + r.Int64N(3)
	if len(b.counted) > 0 && r.IntN(4) == 0 {
		last := b.counted[max(0, len(b.counted)-1-r.IntN(100))]
		var result window.Result
		if err := b.dialect.read(last, &result); err != nil {
			b.t.Error(err)
		}
		d = decision{keys: last.keys, rule: last.rule, give: true, low: d.low, receipt: result.Receipt}
	}
	named := func(name string) *decision {
		keys := make([]string, len(d.keys))
		for i, key := range d.keys {
			keys[i] = name + key[strings.Index(key, "{"):]
		}
		return &decision{keys: keys, rule: d.rule, give: d.give, low: d.low, high: d.high, receipt: d.receipt}
	}
	return named("together"), named("apart")
}

// settle makes decisions in one call.
func settle(t *testing.T, c *limitCounters, list []*decision) {
	t.Helper()
	cmd, err := c.send(list)
	if err == nil {
		err = c.hand(list, cmd)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestBatchIsExact lets many share limits, on a client that batches: exactly the limits pass.
func TestBatchIsExact(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	const limit, keys = 50, 20
	counters := proxy(t, server, 0, limitsAtomic, sliding("exactly", limit))
	rule := window.NewRule(window.Window{Limit: limit, Period: time.Hour})
	var passed [keys]atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for i := range 2 * keys * limit / 32 {
				var result window.Result
				a := &reqlimit.Ask{Key: fmt.Append(nil, i%keys), Rule: &rule, Cost: 1}
				if err := counters.Take(t.Context(), a, &result); err != nil {
					t.Error(err)
					return
				}
				if result.Allowed {
					passed[i%keys].Add(1)
				}
			}
		})
	}
	group.Wait()
	for i := range passed {
		if n := passed[i].Load(); n != limit {
			t.Errorf("key %d: %d passed, want %d", i, n, limit)
		}
	}
}

// TestAbandonedDecisionsAreNotMade holds that what nobody waits for any more when its turn comes is not counted.
func TestAbandonedDecisionsAreNotMade(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	config := at(server.Address)
	config.Timeout = caddy.Duration(200 * time.Millisecond)
	const limit, asked = 1000, 300
	spec := sliding("abandoned", limit)
	counters, err := limitStore(t, pooled(t, config), limitsAtomic).Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	rule := window.NewRule(window.Window{Limit: limit, Period: time.Hour})
	take := func(key string) error {
		return counters.Take(t.Context(), &reqlimit.Ask{Key: []byte(key), Rule: &rule, Cost: 1}, new(window.Result))
	}
	eventually(t, "Redis answers", func() bool { return take("warm") == nil })
	server.Pause()
	var uncertain, unsent atomic.Int64
	var group sync.WaitGroup
	for range asked {
		group.Go(func() {
			switch err := take("k"); {
			case errors.Is(err, ErrUncertain):
				uncertain.Add(1)
			case errors.Is(err, ErrUnavailable):
				unsent.Add(1)
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	server.Resume()
	counted := limit - look(t, server, spec, &rule, "k")
	t.Logf("%d may have been counted and %d not; %d were", uncertain.Load(), unsent.Load(), counted)
	if counted > uncertain.Load() || unsent.Load() == 0 {
		t.Errorf("%d were counted, want at most %d", counted, uncertain.Load())
	}
}

// TestFaultyKeyOfABatch holds that a key that holds something else begins anew, with an end, and troubles no other decision.
func TestFaultyKeyOfABatch(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	client := open(t, at(server.Address))
	w := window.Window{Limit: 10, Period: time.Hour}
	for _, algorithm := range []string{reqlimit.Sliding, reqlimit.Smooth, reqlimit.GCRA, reqlimit.Exact} {
		if w.Burst = 0; algorithm == reqlimit.GCRA {
			w.Burst = w.Limit
		}
		for _, fault := range [][]any{
			{"SADD", "x"}, {"SET", "x"}, {"SET", ""}, {"RPUSH", "x"}, {"RPUSH", "1e300", "x", "nan", "-3"}, {"HSET", "x", "1"},
		} {
			rule := window.NewRule(w)
			spec := reqlimit.Spec{Policy: fmt.Sprint(fault), Algorithm: algorithm, Buckets: 7, Windows: 1, Limit: w.Limit}
			c, err := newLimitCounters(&hub{client: client}, spec)
			if err != nil {
				t.Fatal(err)
			}
			list := make([]*decision, 4)
			for i := range list {
				list[i] = &decision{keys: c.keys(&reqlimit.Ask{Key: fmt.Append(nil, i%3), Rule: &rule}), rule: &rule, low: 1, high: 1}
			}
			key := list[1].keys[0]
			ask(t, client, append([]any{fault[0], key}, fault[1:]...)...)
			settle(t, c, list)
			for i, d := range list {
				var result window.Result
				if err := c.dialect.read(d, &result); err != nil || d.granted != 1 {
					t.Errorf("%s, %v, decision %d: %d granted, error %v", algorithm, fault, i, d.granted, err)
				}
				if left := result.States[0].Remaining; i == 3 && left != 8 || i == 0 && left != 9 {
					t.Errorf("%s, %v, decision %d: %d remain", algorithm, fault, i, left)
				}
			}
			if ends := ask(t, client, "PTTL", key); strings.HasPrefix(ends, "-") {
				t.Errorf("%s, %v: the key has no end: %s", algorithm, fault, ends)
			}
		}
	}
}

// TestRetryAfterClockWasSetBack holds that no wait is told that is longer than a window, or none: Redis' clock may be set back,
// or another one take over whose clock is behind.
func TestRetryAfterClockWasSetBack(t *testing.T) {
	client := open(t, at(gatehousetest.StartRedis(t).Address))
	const period = 10 * time.Second
	for _, algorithm := range []string{reqlimit.Sliding, reqlimit.Smooth, reqlimit.GCRA, reqlimit.Exact} {
		w := window.Window{Limit: 4, Period: period}
		if algorithm == reqlimit.GCRA {
			w.Burst = w.Limit
		}
		rule := window.NewRule(w)
		v := newVirtual(t, client, reqlimit.Spec{Policy: "back", Algorithm: algorithm, Buckets: 7, Windows: 1, Limit: w.Limit}, rule)
		v.key = algorithm
		start := 500_000 * time.Hour
		v.take(start+period/2, 1) // ahead
		v.take(start, 3)
		for at := start; at < start+3*period; at += period / 20 {
			r := v.take(at, 3)
			if !r.Allowed && (r.Retry <= 0 || r.Retry > 2*period) || r.States[0].Reset < 0 || r.States[0].Reset > 2*period {
				t.Errorf("%s, after %v: %+v", algorithm, at-start, r)
			}
		}
	}
}
