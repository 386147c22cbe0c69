// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestRunLimit(t *testing.T) {
	for _, test := range []struct {
		best float64
		want int
	}{{.0001, 5}, {.01, 5}, {.05, 7}, {.1, 9}, {.2, 13}, {.5, 30}, {.99, math.MaxInt}} {
		if got := runLimit(5, test.best, chance); got != test.want {
			t.Errorf("where the best fails %v: %d, want %d", test.best, got, test.want)
		}
	}
}

func TestInRow(t *testing.T) {
	var f failures
	send := uint64(0)
	begin := func() uint64 { send++; return send }
	var old []uint64
	for range 20 {
		old = append(old, begin())
	}
	for i := range 6 { // goes bad, while good answers to older requests come in
		f.add(true, begin())
		f.add(false, old[i])
	}
	if got := f.inRow(send); got != 6 {
		t.Errorf("with old good answers between: %d, want 6", got)
	}
	f.add(false, begin())
	if got := f.inRow(send); got != 0 {
		t.Errorf("after a new good answer: %d, want 0", got)
	}
	for range 10 { // quick failures among slow good answers that are under way
		f.add(true, begin())
		for range 9 {
			begin()
		}
		f.add(false, old[0])
	}
	if got := f.inRow(send); got > 1 {
		t.Errorf("one in ten of what was sent failed: %d in a row, want at most 1", got)
	}
}

func TestEjectsAfterFailuresInARow(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	for range 4 {
		b.answer(1, ms, Failed)
	}
	b.choose(Request{})
	if b.upstream(1).Ejected() {
		t.Error("ejected after 4 failures")
	}
	b.answer(1, ms, Failed)
	b.choose(Request{})
	s := b.upstream(1).Snapshot(b.now)
	if !s.Ejected || s.Reason != "failed_in_a_row" || s.NextProbe <= 0 || s.Ejections != 1 {
		t.Errorf("after 5 failures: %+v", s)
	}
	for range 500 {
		if c := b.chooser.Choose(b.now, b.candidates, Request{}); c.To == 1 {
			t.Fatalf("chose the ejected one: %+v", c)
		}
	}
}

func TestEjectsForTheFailureRatio(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	for i := range 60 {
		b.answer(2, ms, map[bool]Outcome{true: Failed, false: Answered}[i%2 == 0])
		b.choose(Request{Retry: true})
	}
	if s := b.upstream(2).Snapshot(b.now); s.Reason != "failure_ratio" {
		t.Errorf("half of its attempts failed: %+v", s)
	}
}

func TestPoolThatFailsAlikeIsNotEjected(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	for n := range 1000 {
		for i := range b.candidates {
			outcome := Answered
			if (n*7+i*3)%10 < 3 {
				outcome = Failed
			}
			b.answer(i, ms, outcome)
		}
		b.choose(Request{Retry: true})
	}
	for i := range b.candidates {
		if s := b.upstream(i).Snapshot(b.now); s.Ejections > 0 {
			t.Errorf("upstream %d: ejected %d times, although all fail 30 %%", i, s.Ejections)
		}
	}
}

func TestNeverMoreThanMaxEjected(t *testing.T) {
	for _, test := range []struct{ pool, want int }{{1, 0}, {2, 1}, {3, 1}, {4, 2}, {5, 2}, {100, 50}} {
		b := newBench(t, test.pool, Params{}, LeastResponseTime)
		b.warm(20, 10*ms)
		for range 30 {
			for i := range b.candidates {
				b.answer(i, ms/100, Failed)
				b.chooser.Choose(b.now, b.candidates, Request{Retry: true})
			}
		}
		got := 0
		for _, c := range b.candidates {
			if c.Upstream.Ejected() {
				got++
			}
		}
		if got > test.want {
			t.Errorf("of %d upstreams %d are ejected, want at most %d", test.pool, got, test.want)
		}
		if c := b.choose(Request{}); c.To == None {
			t.Errorf("of %d upstreams none was chosen", test.pool)
		}
	}
}

func TestPanicIgnoresEjections(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.eject(0)
	b.eject(1)
	b.candidates = b.candidates[:3] // an active check took the fourth away: one of four is usable
	b.now += 200 * ms
	admit := make([]bool, 3)
	if n, _ := b.chooser.Admit(b.now, b.candidates, Request{Pool: 4}, admit); n != 3 {
		t.Errorf("one usable upstream of four, yet admitted are %v", admit)
	}
	b.now += 200 * ms
	if n, _ := b.chooser.Admit(b.now, b.candidates, Request{Pool: 3, Retry: true}, admit); n != 3 {
		t.Errorf("one usable upstream of three, yet admitted are %v", admit)
	}
}

// probes collects when the ejected upstream 0 is probed in the span, and lets every probe end with outcome.
func (b *bench) probes(span time.Duration, r Request, outcome Outcome) (at []time.Duration) {
	start := b.now
	for b.now < start+int64(span) {
		b.now += 10 * ms
		c := b.chooser.Choose(b.now, b.candidates, r)
		if c.Copy == 0 || (c.To == 0 && c.Why == Probed) {
			at = append(at, time.Duration(b.now-start).Round(time.Second))
			var a Attempt
			b.upstream(0).Begin(&a, b.now)
			a.Headers(b.now, outcome == Failed)
			a.Done(b.now, Answered)
		}
		var a Attempt // the others answer, so that they stay known
		b.upstream(1).Begin(&a, b.now)
		a.Headers(b.now, false)
		a.Done(b.now, Answered)
	}
	return at
}

func TestProbesBackOff(t *testing.T) {
	for _, test := range []struct {
		name    string
		request Request
		span    time.Duration
		want    []time.Duration
	}{
		{"copies", Request{Copyable: true}, 50 * time.Second, []time.Duration{1e9, 3e9, 7e9, 15e9, 25e9, 35e9, 45e9}},
		{"clients' own", Request{}, 300 * time.Second, []time.Duration{2e9, 8e9, 26e9, 80e9, 242e9}},
		{"retries never", Request{Copyable: true, Retry: true}, 100 * time.Second, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, 3, Params{}, LeastResponseTime)
			b.warm(100, 10*ms)
			b.eject(0)
			got := b.probes(test.span, test.request, Failed)
			if len(got) != len(test.want) {
				t.Fatalf("probes at %v, want %v", got, test.want)
			}
			for i := range got {
				if (got[i] - test.want[i]).Abs() > time.Second {
					t.Errorf("probes at %v, want %v", got, test.want)
				}
			}
		})
	}
}

// asks lives through a span with requests of which none may be copied. The proxy asks by requests of its own, which own
// answers, and clients' own requests to the ejected upstream 0 end as outcome says. It returns when it was asked, and how
// many clients probed it.
func (b *bench) asks(span time.Duration, step int64, own bool, outcome Outcome) (at []time.Duration, clients int) {
	start := b.now
	for b.now < start+int64(span) {
		b.now += step
		c := b.chooser.Choose(b.now, b.candidates, Request{Askable: true})
		if c.Copy != None && !c.Own {
			b.t.Fatalf("a copy of what may not be copied: %+v", c)
		}
		if c.Own {
			at = append(at, time.Duration(b.now-start).Round(time.Second))
			b.upstream(c.Copy).Asked(b.now, own)
		}
		if c.To == 0 {
			clients++
		}
		var a Attempt
		b.upstream(c.To).Begin(&a, b.now)
		a.Headers(b.now, c.To == 0 && outcome == Failed)
		a.Done(b.now, Answered)
	}
	return at, clients
}

func TestProxyAsksFirst(t *testing.T) {
	for _, span := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		b := newBench(t, 3, Params{}, LeastResponseTime)
		b.warm(100, 10*ms)
		b.eject(0)
		at, clients := b.asks(span, max(100*ms, int64(span)/100_000), false, Failed)
		least, most := int(span/(21*time.Second)), int(span/(20*time.Second))+3
		if clients > 0 || len(at) < least || len(at) > most {
			t.Errorf("an outage of %v: %d clients probed, want none; asked %d times, want %d to %d", span, clients, len(at), least, most)
		}
		if want := []time.Duration{2e9, 6e9, 14e9}; span <= time.Hour && !slices.Equal(at[:3], want) {
			t.Errorf("asked at %v, want %v at first", at[:3], want)
		}
		if _, clients = b.asks(25*time.Second, 10*ms, true, Answered); clients < 3 || b.upstream(0).Ejected() {
			t.Errorf("25 s after an outage of %v %d clients probed it: %+v", span, clients, b.upstream(0).Snapshot(b.now))
		}
	}
}

// What answers the proxy may fail clients all the same: then their requests probe as rarely as if it could not ask.
func TestAnsweringTheProxyIsNotEnough(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.eject(0)
	if at, clients := b.asks(300*time.Second, 10*ms, true, Failed); clients != 5 || len(at) != 6 || !b.upstream(0).Ejected() {
		t.Errorf("%d clients probed, want 5, as at 2, 8, 26, 80 and 242 s; asked at %v, want before each", clients, at)
	}
}

// A policy that binds requests by keys has a client's request probe only once the proxy was answered, too.
func TestKeyedProbesWaitForTheProxy(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.eject(0)
	b.now += 3 * sec
	admit := make([]bool, 3)
	request := Request{Askable: true, Key: 7}
	if _, c := b.chooser.Admit(b.now, b.candidates, request, admit); !c.Own || c.Copy != 0 || c.Why == Due {
		t.Fatalf("the proxy is to ask: %+v", c)
	}
	if _, c := b.chooser.Admit(b.now, b.candidates, request, admit); c.Own || c.Why == Due {
		t.Errorf("while it asks: %+v", c)
	}
	b.upstream(0).Asked(b.now, true)
	if _, c := b.chooser.Admit(b.now, b.candidates, request, admit); c.Why != Due || c.To != 0 || admit[0] {
		t.Errorf("once it was answered: %+v, %v", c, admit)
	}
}

func TestRecoversAfterGoodProbesAndRelapsesAtOnce(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.eject(0)
	if got := b.probes(3500*time.Millisecond, Request{Copyable: true}, Answered); len(got) < 3 {
		t.Fatalf("probes at %v, want 3", got)
	}
	s := b.upstream(0).Snapshot(b.now)
	if s.Ejected || s.Ramp >= 1 {
		t.Fatalf("after three good probes: %+v", s)
	}
	b.answer(0, ms, Failed)
	b.choose(Request{Retry: true})
	if !b.upstream(0).Ejected() {
		t.Error("a failure just after the recovery did not eject")
	}
}

func TestOverloadPardonsTheSlightlyIll(t *testing.T) {
	b := newBench(t, 4, Params{}, LeastResponseTime)
	b.warm(200, 10*ms)
	for i := range 60 {
		b.answer(0, ms, map[bool]Outcome{true: Failed, false: Answered}[i%2 == 0])
		b.choose(Request{Retry: true})
	}
	if !b.upstream(0).Ejected() {
		t.Fatal("not ejected")
	}
	for i := 1; i < 4; i++ { // the others queue
		for range 64 {
			b.upstream(i).Begin(new(Attempt), b.now)
		}
	}
	for range 60 {
		for i := 1; i < 4; i++ {
			b.answer(i, 30*ms, Answered)
			b.upstream(i).curve.add(level(64), 150e6)
		}
	}
	b.now += 200 * ms
	b.choose(Request{Retry: true})
	if b.upstream(0).Ejected() {
		for i := range 4 {
			t.Errorf("the others are overloaded, yet it is still out: %+v", b.upstream(i).Snapshot(b.now))
		}
	}
}

func TestEjectionOff(t *testing.T) {
	b := newBench(t, 4, Params{EjectAfter: Off, EjectRatio: Off}, LeastResponseTime)
	b.warm(20, 10*ms)
	for range 100 {
		b.answer(0, ms, Failed)
		b.choose(Request{Retry: true})
	}
	if b.upstream(0).Ejected() {
		t.Error("ejected although that is off")
	}
}

// A retry sees only those that it has not tried: what it sees must not decide how many may be out.
func TestRetriesOfAPartEjectNobody(t *testing.T) {
	b := newBench(t, 6, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	for i := range 3 {
		b.eject(i)
	}
	for range 20 {
		b.answer(3, ms, Failed)
	}
	whole := b.candidates
	for tried := range 3 {
		b.candidates = whole[tried+1:]
		c := b.choose(Request{Retry: true, Pool: 6})
		if b.upstream(3 - tried - 1).Ejected() {
			t.Fatalf("with %d tried, the fourth of six is ejected", tried+1)
		}
		if u := b.candidates[c.To].Upstream; u == whole[3].Upstream || u.Ejected() {
			t.Errorf("with %d tried, the retry goes to one that fails", tried+1)
		}
		admit, _, _ := b.admit(Request{Retry: true, Pool: 6})
		if admit[3-tried-1] || b.upstream(3-tried-1).Ejected() {
			t.Errorf("with %d tried, the guard admits one that fails, or ejects it: %v", tried+1, admit)
		}
	}
}

// Nor may it set off a panic, in which all that are ejected get requests.
func TestRetriesOfAPartDoNotPanic(t *testing.T) {
	b := newBench(t, 5, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	b.eject(0)
	b.eject(1)
	whole := b.candidates
	b.now += sec / 2 // the pool's figures are due, and no probe
	b.candidates = append(whole[:2:2], whole[3:]...)
	b.choose(Request{Retry: true, Pool: 5})
	if b.chooser.pool.panicking.Load() {
		t.Error("three of five are well, and the retry of a request that failed at one of them panics")
	}
}

// Requests that hang when the upstream is ejected may hang for ever: probes do not wait for them.
func TestProbesDoNotWaitForWhatHangs(t *testing.T) {
	b := newBench(t, 3, Params{}, LeastResponseTime)
	b.warm(100, 10*ms)
	var hangs [2]Attempt
	for i := range hangs {
		b.upstream(0).Begin(&hangs[i], b.now)
	}
	b.eject(0)
	b.now += sec + ms
	if c := b.choose(Request{Copyable: true}); c.Copy != 0 {
		t.Fatalf("the probe is due: %+v, want a copy to 0", c)
	}
	var probe Attempt
	b.upstream(0).Begin(&probe, b.now)
	b.now += 20 * sec
	if c := b.choose(Request{Copyable: true}); c.Copy != None || c.To == 0 {
		t.Errorf("a second probe beside the first: %+v", c)
	}
	hangs[0].Done(b.now, Canceled)
	if c := b.choose(Request{Copyable: true}); c.Copy != None || c.To == 0 {
		t.Errorf("a second probe when a request from before has ended: %+v", c)
	}
	probe.Headers(b.now, false)
	probe.Done(b.now, Answered)
	hangs[1].Done(b.now, Canceled)
	if u := b.upstream(0); u.load() != 0 || u.stuck() != 0 || u.waiting.Load() != 0 {
		t.Errorf("load %d, %d stuck, %d waiting, want none", u.load(), u.stuck(), u.waiting.Load())
	}
}
