// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package window_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window/traces"
)

// counter counts one key by an algorithm, in virtual time.
type counter struct {
	algorithm window.Algorithm
	rule      window.Rule
	words     []uint32
	stride    int
}

func newCounter(a window.Algorithm, words int, w window.Window) *counter {
	return &counter{a, window.NewRule(w), make([]uint32, words), words}
}

func (c *counter) take(now time.Duration) bool {
	var result window.Result
	window.Decide(c.algorithm, c.words, c.stride, &c.rule, int64(now), 1, false, &result)
	return result.Allowed
}

// algorithms makes a fresh counter of each algorithm for a limit of 100 a minute.
func algorithms() map[string]func() traces.Counter {
	w := window.Window{Limit: 100, Period: time.Minute}
	sliding := window.Sliding{Buckets: window.DefaultBuckets}
	burst := w
	burst.Burst = 10
	return map[string]func() traces.Counter{
		"sliding": func() traces.Counter { return newCounter(sliding, sliding.Words(), w).take },
		"exact":   func() traces.Counter { return newCounter(window.Exact{}, window.Exact{}.Words(w.Limit), w).take },
		"smooth":  func() traces.Counter { return newCounter(window.Smooth{}, window.Smooth{}.Words(), w).take },
		"gcra":    func() traces.Counter { return newCounter(window.GCRA{}, window.GCRA{}.Words(), burst).take },
		"fixed":   func() traces.Counter { return fixed(w) },
	}
}

// fixed is the control: a window that begins anew each minute.
func fixed(w window.Window) traces.Counter {
	var epoch time.Duration
	var n int64
	return func(now time.Duration) bool {
		if e := now / w.Period; e != epoch {
			epoch, n = e, 0
		}
		n++
		return n <= w.Limit
	}
}

// TestTraces holds that sliding and exact never let more than the limit through in any stretch of a period, that sliding lets
// nearly as much through as exact, and that the traces would find an algorithm that does not.
func TestTraces(t *testing.T) {
	const limit, period = 100, time.Minute
	worst := map[string]int{}
	admitted := map[string]int{}
	for _, trace := range traces.All(limit, period) {
		for name, make := range algorithms() {
			for seed := range uint64(10) {
				got := trace.Run(seed, make())
				over := traces.WorstOver(got, limit, period)
				worst[name] = max(worst[name], over)
				if trace.Name == "poisson 50x" {
					admitted[name] += len(got)
				}
				if over > 0 && (name == "sliding" || name == "exact") {
					t.Errorf("%s, %s, seed %d: %d over the limit in the worst trailing window", name, trace.Name, seed, over)
				}
			}
			t.Logf("%-12s %-8s worst so far %d over", trace.Name, name, worst[name])
		}
	}
	share := float64(admitted["sliding"]) / float64(admitted["exact"])
	t.Logf("sliding admits %.2f%% of exact at 50x; worst trailing windows over the limit: %v", 100*share, worst)
	if share < 0.92 {
		t.Errorf("sliding admits %.2f%% of what exact does at saturation, want 92%%", 100*share)
	}
	if worst["fixed"] < limit*9/10 || worst["smooth"] < limit/2 {
		t.Errorf("the traces do not find what fixed (%d over) and smooth (%d over) let through", worst["fixed"], worst["smooth"])
	}
	if worst["gcra"] > 10 {
		t.Errorf("gcra with a burst of 10 let %d more than the limit through", worst["gcra"])
	}
}

// TestRetryIsTrue holds that a request that waits as it was told passes, and one that comes a little earlier does not.
func TestRetryIsTrue(t *testing.T) {
	w := window.Window{Limit: 20, Period: 10 * time.Second, Burst: 5}
	sliding := window.Sliding{Buckets: 7}
	plain := w
	plain.Burst = 0
	for name, c := range map[string]struct {
		algorithm window.Algorithm
		words     int
		window    window.Window
		early     time.Duration // how much earlier still fails
	}{
		"sliding": {sliding, sliding.Words(), plain, 1},
		"exact":   {window.Exact{}, window.Exact{}.Words(20), plain, 1},
		"smooth":  {window.Smooth{}, window.Smooth{}.Words(), plain, 10 * time.Millisecond},
		"gcra":    {window.GCRA{}, window.GCRA{}.Words(), w, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			words := make([]uint32, c.words)
			now, refusals := int64(time.Hour), 0
			for range 20_000 {
				now += r.Int64N(int64(time.Second))
				cost := 1 + r.Int64N(4)
				v := c.algorithm.Check(words, c.window, now, cost)
				if v.Fits {
					if cost > v.Room {
						t.Fatalf("%d fits into %d", cost, v.Room)
					}
					c.algorithm.Add(words, c.window, now, cost)
					continue
				}
				refusals++
				early, later := append([]uint32{}, words...), append([]uint32{}, words...)
				if v := c.algorithm.Check(early, c.window, now+int64(v.Retry-c.early), cost); v.Fits && v.Retry > c.early {
					t.Fatalf("at %d it fits %v earlier than told", now, c.early)
				}
				if again := c.algorithm.Check(later, c.window, now+int64(v.Retry), cost); !again.Fits {
					t.Fatalf("at %d a cost of %d is told to wait %v, and does not fit then: %+v, %+v", now, cost, v.Retry, v, again)
				}
			}
			if refusals < 1000 {
				t.Fatalf("only %d refusals", refusals)
			}
		})
	}
}

// TestGiveUndoes holds that what is given back at once has never been.
func TestGiveUndoes(t *testing.T) {
	w := window.Window{Limit: 50, Period: 10 * time.Second}
	burst := w
	burst.Burst = 20
	sliding := window.Sliding{Buckets: 5}
	for name, c := range map[string]struct {
		algorithm window.Algorithm
		words     int
		window    window.Window
	}{
		"sliding": {sliding, sliding.Words(), w},
		"exact":   {window.Exact{}, window.Exact{}.Words(50), w},
		"smooth":  {window.Smooth{}, window.Smooth{}.Words(), w},
		"gcra":    {window.GCRA{}, window.GCRA{}.Words(), burst},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			words := make([]uint32, c.words)
			now := int64(time.Hour)
			for i := range 5000 {
				now += r.Int64N(int64(300 * time.Millisecond))
				cost := 1 + r.Int64N(3)
				before := c.algorithm.Check(words, c.window, now, cost)
				if !before.Fits {
					continue
				}
				receipt := c.algorithm.Add(words, c.window, now, cost)
				if i%3 == 0 {
					continue
				}
				c.algorithm.Give(words, c.window, now, receipt, cost)
				if after := c.algorithm.Check(words, c.window, now, cost); after.Room != before.Room {
					t.Fatalf("step %d: room for %d, then %d after giving back", i, before.Room, after.Room)
				}
			}
		})
	}
}

// TestDecideTogether holds that a request counts in all windows or in none.
func TestDecideTogether(t *testing.T) {
	rule := window.NewRule(window.Window{Limit: 2, Period: time.Second}, window.Window{Limit: 10, Period: time.Minute})
	a := window.Sliding{Buckets: 4}
	words := make([]uint32, 2*a.Words())
	var result window.Result
	for i := range 5 {
		window.Decide(a, words, a.Words(), &rule, int64(time.Hour), 1, false, &result)
		if result.Allowed != (i < 2) {
			t.Fatalf("request %d: %+v", i, result)
		}
	}
	if result.Violated != 0 || result.States[1].Remaining != 8 || result.States[0].Remaining != 0 {
		t.Errorf("refused requests counted: %+v", result)
	}
	if result.Retry < time.Second || result.Retry > 1250*time.Millisecond {
		t.Errorf("retry %v", result.Retry)
	}
	window.Decide(a, words, a.Words(), &rule, int64(time.Hour), 11, false, &result)
	if result.Allowed || result.Retry != window.Never || result.Violated != 0 && result.Violated != 1 {
		t.Errorf("a cost above every limit: %+v", result)
	}
}

// TestAlwaysLocksOut holds that with refused requests counted, a client that goes on stays refused, and memory stays bounded.
func TestAlwaysLocksOut(t *testing.T) {
	w := window.Window{Limit: 5, Period: time.Second}
	sliding := window.Sliding{Buckets: 4}
	burst := w
	burst.Burst = 5
	for name, c := range map[string]struct {
		algorithm window.Algorithm
		words     int
		window    window.Window
	}{
		"sliding": {sliding, sliding.Words(), w},
		"exact":   {window.Exact{}, window.Exact{}.Words(5), w},
		"smooth":  {window.Smooth{}, window.Smooth{}.Words(), w},
		"gcra":    {window.GCRA{}, window.GCRA{}.Words(), burst},
	} {
		t.Run(name, func(t *testing.T) {
			rule := window.NewRule(c.window)
			words := make([]uint32, c.words)
			passed := 0
			var result window.Result
			for ms := range int64(10_000) { // 1,000 a second, ten seconds
				window.Decide(c.algorithm, words, c.words, &rule, int64(time.Hour)+ms*int64(time.Millisecond), 1, true, &result)
				if result.Allowed {
					passed++
				}
			}
			if passed > 6 {
				t.Errorf("%d requests of one that never rests passed", passed)
			}
			later := int64(time.Hour) + int64(10*time.Second) + int64(result.Retry) + int64(2*time.Second)
			if window.Decide(c.algorithm, words, c.words, &rule, later, 1, true, &result); !result.Allowed {
				t.Errorf("it is refused after a rest: %+v", result)
			}
		})
	}
}

// TestLowRuleFreesNothing holds that refused requests that are counted under a low limit take nothing away from what was counted
// of the same key under a high one.
func TestLowRuleFreesNothing(t *testing.T) {
	high := window.Window{Limit: 1000, Period: time.Minute}
	low := window.Window{Limit: 10, Period: time.Minute}
	for name, c := range map[string]struct {
		algorithm window.Algorithm
		words     int
		burst     int64 // of high; low has 1
	}{
		"sliding": {window.Sliding{Buckets: 4}, window.Sliding{Buckets: 4}.Words(), 0},
		"smooth":  {window.Smooth{}, window.Smooth{}.Words(), 0},
		"gcra":    {window.GCRA{}, window.GCRA{}.Words(), 1000},
	} {
		t.Run(name, func(t *testing.T) {
			high, low := high, low
			high.Burst, low.Burst = c.burst, min(c.burst, 1)
			many, few := window.NewRule(high), window.NewRule(low)
			words := make([]uint32, c.words)
			var result window.Result
			now := int64(time.Hour)
			window.Decide(c.algorithm, words, c.words, &many, now, 900, true, &result)
			if window.Decide(c.algorithm, words, c.words, &few, now, 1, true, &result); result.Allowed {
				t.Fatal("900 requests are within a limit of 10")
			}
			window.Decide(c.algorithm, words, c.words, &many, now, 0, true, &result)
			if left := result.States[0].Remaining; left > 100 {
				t.Errorf("%d of 1000 remain after 900", left)
			}
		})
	}
}

func TestRuleShares(t *testing.T) {
	r := window.NewRule(window.Window{Limit: 10, Period: time.Second, Burst: 2}, window.Window{Limit: 100_000, Period: time.Minute})
	s := r.Share(4)
	if got := fmt.Sprint(s.Windows); got != "[{2 1s 1} {25000 1m0s 0}]" || s.Shape != r.Shape || s.Longest != time.Minute {
		t.Errorf("%v %+v", got, s)
	}
	if r.Bytes() != 4 || window.NewRule(window.Window{Limit: 65535}).Bytes() != 2 {
		t.Error("the size of counts")
	}
}

func BenchmarkDecide(b *testing.B) {
	w := window.Window{Limit: 100, Period: time.Minute}
	for _, c := range []struct {
		name  string
		a     window.Algorithm
		words int
	}{
		{"sliding", window.Sliding{Buckets: window.DefaultBuckets}, window.Sliding{Buckets: window.DefaultBuckets}.Words()},
		{"exact", window.Exact{}, window.Exact{}.Words(100)},
		{"smooth", window.Smooth{}, window.Smooth{}.Words()},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			rule, words := window.NewRule(w), make([]uint32, c.words)
			var result window.Result
			now := int64(time.Hour)
			for b.Loop() {
				now += int64(10 * time.Millisecond)
				window.Decide(c.a, words, c.words, &rule, now, 1, false, &result)
			}
		})
	}
}

// TestRingHoldsNoMoreThanItHasRoomFor gives exact counting a rule with a higher limit than its state was made for, as a table of
// limits may that changes at run time: the ring bounds it.
func TestRingHoldsNoMoreThanItHasRoomFor(t *testing.T) {
	const room = 5
	rule := window.NewRule(window.Window{Limit: 20, Period: time.Minute})
	x := window.Exact{}
	words := make([]uint32, x.Words(room))
	passed := 0
	var result window.Result
	for i := range int64(50) {
		window.Decide(x, words, len(words), &rule, int64(time.Hour)+i*int64(time.Millisecond), 1, false, &result)
		if result.Allowed {
			passed++
		}
	}
	if passed != room {
		t.Errorf("%d passed, want the %d that there is room for", passed, room)
	}
}

// TestRulesOfOneKey holds that a request under a low limit takes nothing away from what was counted under a high one.
func TestRulesOfOneKey(t *testing.T) {
	high := window.NewRule(window.Window{Limit: 1000, Period: time.Minute})
	low := window.NewRule(window.Window{Limit: 10, Period: time.Minute})
	sliding := window.Sliding{Buckets: 5}
	for name, c := range map[string]struct {
		algorithm window.Algorithm
		words     int
	}{"sliding": {sliding, sliding.Words()}, "smooth": {window.Smooth{}, window.Smooth{}.Words()}} {
		words := make([]uint32, c.words)
		var result window.Result
		window.Decide(c.algorithm, words, c.words, &high, int64(time.Hour), 900, true, &result)
		window.Decide(c.algorithm, words, c.words, &low, int64(time.Hour), 1, true, &result) // refused, and counted
		if window.Decide(c.algorithm, words, c.words, &high, int64(time.Hour), 0, true, &result); result.States[0].Remaining > 100 {
			t.Errorf("%s: %d of 1000 remain after 900", name, result.States[0].Remaining)
		}
		if window.Decide(c.algorithm, words, c.words, &low, int64(time.Hour), 0, true, &result); !result.Allowed {
			t.Errorf("%s: a cost of nothing is refused", name)
		}
	}
}
