// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDecide(t *testing.T) {
	faulty := Settings{
		ErrorRate: 0.1, ErrorStatus: 503, Stall: Duration(time.Second), StallRate: 0.2,
		ResetAfterEffectRate: 0.3, TruncateRate: 0.4,
	}
	const ms = time.Millisecond
	luck := throw{fail: 0.1, stall: 0.2, reset: 0.3, truncate: 0.4, latency: ms} // each just not met
	for _, test := range []struct {
		name     string
		settings Settings
		change   func(*throw)
		want     fate
	}{
		{"nothing set, worst luck", Settings{StallRate: 1}, func(t *throw) { *t = throw{latency: ms} }, fate{latency: ms}},
		{"all set, good luck", faulty, func(*throw) {}, fate{latency: ms}},
		{"fail wins", faulty, func(t *throw) { *t = throw{fail: 0.0999, latency: ms} }, fate{fail: true, errorStatus: 503}},
		{"stall", faulty, func(t *throw) { t.stall = 0.1999 }, fate{latency: ms, stall: time.Second}},
		{"reset", faulty, func(t *throw) { t.reset = 0.2999 }, fate{latency: ms, reset: true}},
		{"truncate", faulty, func(t *throw) { t.truncate = 0.3999 }, fate{latency: ms, truncate: true}},
		{"reset before truncate", faulty, func(t *throw) { t.reset, t.truncate = 0, 0 }, fate{latency: ms, reset: true}},
		{
			"stall and truncate", faulty, func(t *throw) { t.stall, t.truncate = 0, 0 },
			fate{latency: ms, stall: time.Second, truncate: true},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			thrown := luck
			test.change(&thrown)
			if got := decide(test.settings, thrown); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// TestThrowsRepeat: one seed gives one sequence; the name and the seed change it, the latency does not.
func TestThrowsRepeat(t *testing.T) {
	sequence := func(seed uint64, name, latency string) (faults [100]float64) {
		l, err := NewApp(Options{Seed: seed}).Listener(name, Settings{Latency: latency})
		if err != nil {
			t.Fatal(err)
		}
		for i := range faults {
			faults[i] = l.dice.throw(l.state.Load().latency).reset
		}
		return faults
	}
	base := sequence(1, "a", "none")
	if sequence(1, "a", "none") != base {
		t.Error("the same seed gave another sequence")
	}
	if sequence(1, "a", "lognormal:1ms,1") != base {
		t.Error("the latency moved the faults")
	}
	if sequence(2, "a", "none") == base || sequence(1, "b", "none") == base {
		t.Error("another seed or name gave the same sequence")
	}
}

func TestErrorRate(t *testing.T) {
	l := newListener(t, Options{}, Settings{ErrorRate: 0.25, ErrorStatus: 503})
	failed := 0
	for range 4000 {
		switch w := do(t, l, "POST", "/orders?key=k", ""); w.Code {
		case http.StatusServiceUnavailable:
			failed++
		case http.StatusCreated:
		default:
			t.Fatalf("status %d", w.Code)
		}
	}
	if failed < 900 || failed > 1100 { // 1000 +- 3.6 standard deviations
		t.Errorf("%d of 4000 failed at a rate of 0.25", failed)
	}
	if n := l.App().Effects("k"); n != int64(4000-failed) {
		t.Errorf("%d effects of %d successes", n, 4000-failed)
	}
	if s := l.Stats(); s.Requests != 4000 || s.Failed != int64(failed) {
		t.Errorf("%+v", s)
	}
}

// TestBlackHole: errors come at once, past the latency and a queue without end.
func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{}, Settings{Latency: "const:1m", Workers: 1})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			l.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", http.NoBody))
		})
		synctest.Wait()
		began := time.Now()
		wantStatus(t, do(t, l, "PATCH", "/_origin/settings", `{"error_rate":1}`), http.StatusOK)
		wantStatus(t, do(t, l, "GET", "/", ""), http.StatusInternalServerError)
		wantStatus(t, do(t, l, "GET", "/healthz", ""), http.StatusOK)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
		cancel()
		all.Wait()
		if s := l.Stats(); s.Abandoned != 1 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestWorkersAndLatency: four workers of 10 ms each take 25 rounds for 100 requests.
func TestWorkersAndLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{}, Settings{Latency: "const:10ms", Workers: 4})
		began := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { do(t, l, "GET", "/", "") })
		}
		all.Wait()
		if took := time.Since(began); took != 250*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if s := l.Stats(); s.MostInFlight != 4 || s.InFlight != 0 || s.Queued != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{MaxQueue: 1}, Settings{Latency: "const:1s", Workers: 1})
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { wantStatus(t, do(t, l, "GET", "/", ""), http.StatusOK) })
		}
		synctest.Wait()
		w := do(t, l, "GET", "/", "")
		wantStatus(t, w, http.StatusServiceUnavailable)
		if w.Header().Get("Retry-After") != "1" || l.Stats().Refused != 1 {
			t.Errorf("headers %v, stats %+v", w.Header(), l.Stats())
		}
		all.Wait()
	})
}

// TestStall: the effect comes at once, the response after the stall.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{}, Settings{Stall: Duration(30 * time.Second)})
		began := time.Now()
		var all sync.WaitGroup
		all.Go(func() { wantStatus(t, do(t, l, "POST", "/orders?key=k", ""), http.StatusCreated) })
		synctest.Wait()
		if l.App().Effects("k") != 1 || time.Since(began) != 0 {
			t.Errorf("%d effects after %s", l.App().Effects("k"), time.Since(began))
		}
		all.Wait()
		if took := time.Since(began); took != 30*time.Second || l.Stats().Stalled != 1 {
			t.Errorf("took %s, %+v", took, l.Stats())
		}
	})
}

// TestStallClientLeaves: the handler ends with its client and gives the worker back.
func TestStallClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{}, Settings{Stall: Duration(time.Minute), Workers: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler { // the very value is the contract
					t.Errorf("recovered %v", got)
				}
			}()
			l.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", http.NoBody))
		}()
		if took := time.Since(began); took != time.Second || l.Stats().InFlight != 0 {
			t.Errorf("took %s, %+v", took, l.Stats())
		}
	})
}

// TestFreeze: what arrives waits, what runs does not end, lifting lets all go.
func TestFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{}, Settings{Latency: "const:10ms"})
		began := time.Now()
		ended := make(chan time.Duration, 3)
		request := func(target string) {
			do(t, l, "GET", target, "")
			ended <- time.Since(began)
		}
		go request("/") // let in before the freeze, done during it
		synctest.Wait()
		if err := l.Set(Settings{Freeze: Duration(2 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		go request("/status/404")
		if took := <-ended; took != 2*time.Second {
			t.Errorf("first ended after %s", took)
		}
		if took := <-ended; took != 2*time.Second {
			t.Errorf("second ended after %s", took)
		}

		began = time.Now()
		if err := l.Set(Settings{Freeze: Duration(time.Minute), ErrorRate: 1}); err != nil {
			t.Fatal(err)
		}
		go request("/") // would fail at once, were it not frozen
		time.Sleep(time.Second)
		if err := l.Set(Settings{}); err != nil {
			t.Fatal(err)
		}
		if took := <-ended; took != time.Second {
			t.Errorf("lifted after %s", took)
		}
	})
}

func TestResetAfterEffect(t *testing.T) {
	l := newListener(t, Options{}, Settings{ResetAfterEffectRate: 1})
	url, client := serveReal(t, l)
	_, _, err := send(t, client, "POST", url+"/orders?key=k")
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want a reset connection", err)
	}
	if n := l.App().Effects("k"); n != 1 {
		t.Errorf("%d effects", n)
	}
	response, body, err := send(t, client, "GET", url+"/orders?key=k")
	if err != nil || response.StatusCode != http.StatusOK || string(body) != `{"key":"k","effects":1}`+"\n" {
		t.Errorf("reading the counter: %s, %v", body, err)
	}
	if s := l.Stats(); s.Reset != 1 || s.Requests != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTruncate(t *testing.T) {
	for _, test := range []struct {
		target string
		length int64 // Content-Length, -1 for chunked
		got    int
	}{
		{"/bytes/1000", 1000, 500},
		{"/bytes/10000001", 10_000_001, 5_000_000},
		{"/bytes/1", 1, 0},
		{"/bytes/100000?chunked&piece=1000", -1, 500},
		{"/status/418", 17, 8},
		{"/bytes/0", 0, 0}, // nothing to cut
	} {
		t.Run(test.target, func(t *testing.T) {
			l := newListener(t, Options{}, Settings{TruncateRate: 1})
			url, client := serveReal(t, l)
			response, body, err := send(t, client, "GET", url+test.target)
			if response == nil {
				t.Fatal(err)
			}
			if response.ContentLength != test.length || len(body) != test.got {
				t.Errorf("length %d, got %d", response.ContentLength, len(body))
			}
			if cut := test.length != 0; cut != errors.Is(err, io.ErrUnexpectedEOF) || l.Stats().Truncated != btoi(cut) {
				t.Errorf("error %v, %+v", err, l.Stats())
			}
		})
	}
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// TestTruncateLeavesHeadAlone: HEAD has no body to cut.
func TestTruncateLeavesHeadAlone(t *testing.T) {
	l := newListener(t, Options{}, Settings{TruncateRate: 1})
	url, client := serveReal(t, l)
	for _, target := range []string{"/bytes/1000", "/bytes/1000?chunked", "/status/200", "/cache/etag"} {
		if response, _, err := send(t, client, "HEAD", url+target); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %v", target, err)
		}
	}
	if n := l.Stats().Truncated; n != 0 {
		t.Errorf("%d truncated", n)
	}
}

// TestControlIsExempt: what steers and observes works however broken the listener is.
func TestControlIsExempt(t *testing.T) {
	l := newListener(t, Options{}, Settings{
		ErrorRate: 1, ResetAfterEffectRate: 1, TruncateRate: 1, Stall: Duration(time.Minute), Freeze: Duration(time.Minute),
	})
	for _, request := range []string{
		"GET /orders", "DELETE /orders", "GET /ingest", "DELETE /ingest", "GET /_origin/settings", "GET /_origin/stats",
		"GET /healthz",
	} {
		method, target, _ := strings.Cut(request, " ")
		if w := do(t, l, method, target, ""); w.Code >= 300 || w.Header().Get("X-Origin") != "a" {
			t.Errorf("%s: %d, %v", request, w.Code, w.Header())
		}
	}
}
