// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
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
	for _, always := range []bool{false, true} {
		spec := reqlimit.Spec{Policy: fmt.Sprint("batch ", always), Algorithm: reqlimit.Sliding, Buckets: 7, Windows: 2, Always: always}
		v := newVirtual(t, client, spec, rules[0])
		r := rand.New(rand.NewPCG(1, 2))
		granted, refused := 0, 0
		for now := 500_000 * time.Hour; now < 500_000*time.Hour+2*time.Minute; now += time.Duration(r.Int64N(int64(5 * time.Second))) {
			ask(t, client, "HSET", "clock", "s", now.Microseconds()/1e6, "us", now.Microseconds()%1e6)
			together, apart := make([]*decision, maxBatch), make([]*decision, maxBatch)
			for i := range together {
				d := randomDecision(r, v, rules, now)
				apart[i] = &decision{
					keys: []string{"apart" + d.keys[0]}, rule: d.rule, give: d.give, low: d.low, high: d.high, receipt: d.receipt,
				}
				d.keys[0] = "together" + d.keys[0]
				together[i] = d
			}
			settle(t, v.limitCounters, together)
			for i, d := range apart {
				settle(t, v.limitCounters, apart[i:i+1])
				if got := together[i]; got.granted != d.granted || got.state != d.state || got.now != d.now {
					t.Fatalf("decision %d at %v: together %d %q, apart %d %q", i, now, got.granted, got.state, d.granted, d.state)
				}
				if d.give {
					continue
				}
				if d.granted >= 0 {
					granted++
				} else {
					refused++
				}
			}
		}
		if granted < 100 || refused < 100 {
			t.Errorf("%d granted and %d refused: that shows little", granted, refused)
		}
	}
}

// randomDecision draws from few keys, so that several decisions of a batch meet.
func randomDecision(r *rand.Rand, v *virtual, rules []window.Rule, now time.Duration) *decision {
	rule := &rules[r.IntN(len(rules))]
	d := &decision{keys: v.keys(&reqlimit.Ask{Key: fmt.Append(nil, r.IntN(4)), Rule: rule}), rule: rule, low: r.Int64N(4)}
	d.high = d.low + r.Int64N(3)
	if r.IntN(4) == 0 {
		d.give = true
		for i, w := range rule.Windows {
			d.receipt[i] = now.Microseconds()/packed{v.spec}.width(w) - r.Int64N(10) + 1
		}
	}
	return d
}

// settle makes decisions in one call.
func settle(t *testing.T, c *limitCounters, list []*decision) {
	t.Helper()
	cmd, err := c.send(list)
	if err == nil {
		err = c.dialect.hand(list, cmd)
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

// TestOneFaultyDecisionOfABatch holds that a key that holds something else fails its own decision only.
func TestOneFaultyDecisionOfABatch(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	client := open(t, at(server.Address))
	w := window.Window{Limit: 10, Period: time.Hour, Burst: 10}
	spec := reqlimit.Spec{Policy: "faulty", Algorithm: reqlimit.GCRA, Windows: 1, Limit: w.Limit}
	c, err := newLimitCounters(&hub{client: client}, spec)
	if err != nil {
		t.Fatal(err)
	}
	rule := window.NewRule(w)
	list := make([]*decision, 3)
	for i := range list {
		list[i] = &decision{keys: c.keys(&reqlimit.Ask{Key: fmt.Append(nil, i), Rule: &rule}), rule: &rule, low: 1, high: 1}
	}
	ask(t, client, "RPUSH", list[1].keys[0], "x")
	settle(t, c, list)
	for i, d := range list {
		if (d.err != nil) != (i == 1) || i != 1 && d.granted != 1 {
			t.Errorf("decision %d: %d granted, error %v", i, d.granted, d.err)
		}
	}
}
