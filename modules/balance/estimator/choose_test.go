// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"testing"
	"time"
)

func constant(latency int64) func(int) int64 { return func(int) int64 { return latency } }

func TestChooseNone(t *testing.T) {
	if c := NewChooser(Params{}, LeastResponseTime, nil).Choose(1, nil, Request{}); c.To != None || c.Copy != None {
		t.Errorf("no candidates: %+v", c)
	}
}

func TestTheSlowOneIsAvoidedButNotForgotten(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	got := b.shares(10_000, func(i int) int64 {
		if i == 2 {
			return 50 * ms
		}
		return 10 * ms
	})
	if got[2] < .0005 || got[2] > .03 {
		t.Errorf("the slow one got %.4f of %.3v, want little, yet something", got[2], got)
	}
}

func TestTheLessBusyOfEquals(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(200, 10*ms)
	for range 6 {
		b.upstream(0).Begin(new(Attempt), b.now)
		b.upstream(2).Begin(new(Attempt), b.now)
	}
	counts := map[int]int{}
	for range 100 {
		counts[b.chooser.Choose(b.now, b.candidates, Request{Retry: true}).To]++
	}
	if counts[1] != 100 {
		t.Errorf("choices: %v, want all for the idle one", counts)
	}
}

func TestWeights(t *testing.T) {
	for _, m := range []Method{LeastResponseTime, LeastBandwidth} {
		b := newBench(t, 2, Params{}, m)
		b.candidates[1].Weight = 3
		b.warm(100, 10*ms)
		// Held in flight, as weights show under load.
		var open [2][]*Attempt
		counts := [2]float64{}
		for range 4000 {
			c := b.choose(Request{Retry: true})
			counts[c.To]++
			a := new(Attempt)
			b.upstream(c.To).Begin(a, b.now)
			open[c.To] = append(open[c.To], a)
			for i := range open {
				if len(open[i]) > 0 && b.now-open[i][0].began > 40*ms {
					a := open[i][0]
					a.Headers(b.now, false)
					a.Received(b.now, 1000)
					a.Done(b.now, Answered)
					open[i] = open[i][1:]
				}
			}
		}
		if ratio := counts[1] / counts[0]; ratio < 2 || ratio > 4.5 {
			t.Errorf("method %d: weights 1 and 3 got %v, a ratio of %.2f", m, counts, ratio)
		}
	}
}

func TestZones(t *testing.T) {
	b := newBench(t, 4, Params{Explore: Off}, LeastResponseTime)
	b.candidates[2].Zone, b.candidates[3].Zone = 1, 1
	b.warm(200, 10*ms)
	for _, share := range b.shares(200, constant(10*ms))[2:] {
		if share > 0 {
			t.Errorf("the near zone is idle, yet a far one got %.3f", share)
		}
	}
	for range 12 { // the near zone queues: it takes four times its idle latency at this load
		b.upstream(0).Begin(new(Attempt), b.now)
		b.upstream(1).Begin(new(Attempt), b.now)
	}
	for range 100 {
		b.answer(0, 40*ms, Answered)
		b.answer(1, 40*ms, Answered)
	}
	b.now += 200 * ms
	if c := b.choose(Request{}); b.candidates[c.To].Zone != 1 {
		t.Errorf("the near zone is full, yet it got the request: %+v", c)
	}
}

func TestNewUpstreamRamps(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	if f := b.upstream(0).RampFraction(b.now); f != 1 {
		t.Errorf("in a new pool: ramp %v, want none", f)
	}
	newcomer := New(Params{})
	b.candidates = append(b.candidates, Candidate{Upstream: newcomer})
	for i := range 4 {
		for range 8 {
			b.upstream(i).Begin(new(Attempt), b.now)
		}
	}
	limit := func(now int64) (n int64) {
		b.now = now
		for range 5000 {
			if b.chooser.Choose(b.now, b.candidates, Request{}).To == 4 {
				newcomer.Begin(new(Attempt), b.now)
			}
		}
		return newcomer.InFlight()
	}
	start := b.now + 200*ms
	if got := limit(start); got != 1 {
		t.Errorf("at first it has %d requests under way, want 1", got)
	}
	if got := limit(start + 15*sec); got < 4 || got > 6 {
		t.Errorf("half way it has %d requests under way, want about half of the others' 8", got)
	}
	b.now = start + 31*sec
	if f := newcomer.RampFraction(b.now); f != 1 {
		t.Errorf("after the ramp: %v", f)
	}
}

func TestStallIsNoticedBySilence(t *testing.T) {
	b := newBench(t, 3, Params{Explore: Off}, LeastResponseTime)
	b.warm(200, 10*ms)
	stuck := make([]*Attempt, 4)
	for i := range stuck {
		stuck[i] = new(Attempt)
		b.upstream(0).Begin(stuck[i], b.now)
	}
	for _, i := range []int{1, 2} { // as busy, but answering
		for range 4 {
			b.upstream(i).Begin(new(Attempt), b.now)
		}
	}
	b.now += 30 * ms
	for _, i := range []int{1, 2} {
		b.upstream(i).heard.Store(b.now)
	}
	for range 100 {
		if c := b.chooser.Choose(b.now, b.candidates, Request{}); c.To == 0 {
			t.Fatal("a request went to the stalled upstream")
		}
	}
	looked := 0
	for range 10_000 {
		b.now += ms
		for _, i := range []int{1, 2} {
			b.upstream(i).heard.Store(b.now)
		}
		if c := b.chooser.Choose(b.now, b.candidates, Request{}); c.To == 0 {
			looked++
		}
	}
	if looked < 1 || looked > 3 {
		t.Errorf("in 10 s of stall %d requests looked whether it is over, want 1 to 3", looked)
	}
	before := b.upstream(0).Snapshot(b.now).Typical
	for _, a := range stuck {
		a.Headers(b.now, false)
		a.Done(b.now, Answered)
	}
	if after := b.upstream(0).Snapshot(b.now).Typical; after > 2*before {
		t.Errorf("the stall's latencies were learned: %v s, before %v s", after, before)
	}
}

// After a long stall an upstream comes back slowly, though not in the midst of a ramp, and more so after the next. A slow one
// gets one request at a time, and some of these take long: a ramp would have it get more of them.
func TestRampAfterStall(t *testing.T) {
	const ramp = 10 * sec
	for name, c := range map[string]struct {
		joined bool    // it is new
		held   []int   // requests that each stall holds
		pause  int64   // between stalls
		want   float64 // of the ramp
	}{
		"one long answer":                   {held: []int{1}, want: 1},
		"a stall":                           {held: []int{2}, want: .5},
		"a stall of a new one":              {joined: true, held: []int{2}, want: .1},
		"another stall":                     {held: []int{2, 2}, pause: ramp / 2, want: 0},
		"another stall, of one request":     {held: []int{2, 1}, pause: ramp / 2, want: 0},
		"another stall, much later":         {held: []int{2, 2}, pause: 2 * ramp, want: .5},
		"one long answer, much later":       {held: []int{2, 1}, pause: 2 * ramp, want: 1},
		"long answers of a slow one":        {held: []int{1, 1, 1}, pause: 3 * sec, want: 1},
		"a third one, long after the first": {held: []int{2, 1, 1}, pause: ramp / 2, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 3, Params{Ramp: time.Duration(ramp)}, LeastResponseTime)
			b.warm(200, 10*ms)
			u := b.upstream(0)
			if c.joined {
				u.StartRamp(b.now + ms)
			}
			for i, n := range c.held {
				if i > 0 {
					b.now += c.pause
				}
				b.stall(0, n)
			}
			if got := u.RampFraction(b.now); got != c.want {
				t.Errorf("the ramp is at %v, want %v", got, c.want)
			}
		})
	}
}

// stall lets an upstream stand still for a little more than a long stall, with n requests.
func (b *bench) stall(upstream, n int) {
	held := make([]Attempt, n)
	for i := range held {
		b.upstream(upstream).Begin(&held[i], b.now)
	}
	b.now += longStall + ms
	for i := range held {
		held[i].Headers(b.now, false)
		held[i].Done(b.now, Answered)
	}
}

func TestRequestsThatHangDoNotKeepOthersAway(t *testing.T) {
	b := newBench(t, 2, Params{}, LeastResponseTime)
	b.warm(200, 10*ms)
	for range 5 {
		b.upstream(0).Begin(new(Attempt), b.now) // for ever
	}
	b.now += 5 * sec
	b.answer(0, 10*ms, Answered) // somebody passes them
	for i := range 2 {
		for range 20 {
			b.answer(i, 10*ms, Answered)
		}
	}
	if got := b.shares(2000, constant(10*ms)); got[0] < .3 {
		t.Errorf("with five requests hanging it got %.3f, want about a half", got[0])
	}
}

func TestLeastBandwidth(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastBandwidth)
	b.warm(10, ms)
	send := func(i, bytes int) {
		var a Attempt
		b.upstream(i).Begin(&a, b.now)
		a.Headers(b.now, false)
		a.Received(b.now, bytes)
		a.Done(b.now, Answered)
	}
	for range 100 {
		send(0, 1_000_000)
		send(1, 10_000)
		send(2, 500_000)
	}
	if c := b.choose(Request{Retry: true}); c.To != 1 {
		t.Errorf("chose %d, want the one that serves least", c.To)
	}
	b.candidates[2].Weight, b.candidates[1].Weight = 100, 1
	if c := b.choose(Request{Retry: true}); c.To != 2 {
		t.Errorf("chose %d, want the one that serves least for its weight", c.To)
	}
	if s := b.upstream(0).Snapshot(b.now); s.Bytes != 100_000_000 || s.BytesPerSecond < 10e6 {
		t.Errorf("snapshot %+v", s)
	}
	b.now += int64(time.Minute)
	if s := b.upstream(0).Snapshot(b.now); s.BytesPerSecond > 1000 {
		t.Errorf("a minute later it still serves %v B/s", s.BytesPerSecond)
	}
}

func TestLeastBandwidthDoesNotHerd(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastBandwidth)
	b.warm(20, ms)
	for i := range b.candidates {
		for range 20 {
			var a Attempt
			b.upstream(i).Begin(&a, b.now)
			a.Headers(b.now, false)
			a.Received(b.now, 100_000)
			a.Done(b.now, Answered)
		}
	}
	for range 40 { // none of these has answered yet
		c := b.chooser.Choose(b.now, b.candidates, Request{Retry: true})
		b.upstream(c.To).Begin(new(Attempt), b.now)
	}
	for i := range b.candidates {
		if n := b.upstream(i).InFlight(); n < 5 || n > 15 {
			t.Errorf("of 40 requests at once upstream %d got %d, want about 10", i, n)
		}
	}
}

func TestLargePoolsAreSampled(t *testing.T) {
	b := newBench(t, 500, Params{}, LeastResponseTime)
	b.warm(5, ms)
	seen := map[int]int{}
	for range 10_000 {
		seen[b.chooser.Choose(b.now, b.candidates, Request{}).To]++
	}
	if len(seen) < 450 {
		t.Errorf("only %d of 500 were ever chosen", len(seen))
	}
}

func TestChooseAllocatesNothing(t *testing.T) {
	for _, m := range []Method{LeastResponseTime, LeastBandwidth} {
		for _, n := range []int{1, 10, 64, 300} {
			b := newBench(t, n, Params{}, m)
			b.warm(20, ms)
			admit := make([]bool, n)
			got := testing.AllocsPerRun(300, func() {
				b.now += ms
				b.chooser.Choose(b.now, b.candidates, Request{})
				b.chooser.Admit(b.now, b.candidates, Request{}, admit)
			})
			if got != 0 {
				t.Errorf("method %d, %d upstreams: %v allocations", m, n, got)
			}
		}
	}
}

func TestFailuresCost(t *testing.T) {
	b := newBench(t, 3, Params{Explore: Off, EjectAfter: Off, EjectRatio: Off}, LeastResponseTime)
	b.warm(200, 10*ms)
	for i := range 20 {
		b.answer(0, ms, map[bool]Outcome{true: Failed, false: Answered}[i%5 == 0])
	}
	if got := b.shares(300, constant(10*ms)); got[0] > .02 {
		t.Errorf("it fails one in five, yet got %.3f", got[0])
	}
}

func TestValidate(t *testing.T) {
	if err := (Params{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	for name, p := range map[string]Params{
		"explore": {Explore: 1.5}, "max ejected": {MaxEjected: 2}, "panic": {Panic: math.Inf(1)}, "sample": {Sample: 65},
		"memory": {Memory: -1}, "measure": {Measure: 7}, "eject ratio": {EjectRatio: 1.01}, "failure tolerance": {FailureTolerance: 3},
		"band": {Band: math.NaN()},
	} {
		if p.Validate() == nil {
			t.Errorf("%s: no error for %+v", name, p)
		}
	}
}
