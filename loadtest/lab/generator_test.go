// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoissonKeepsItsRateAndRepeats(t *testing.T) {
	const rate, length = 330, time.Minute
	due := Poisson(rate, length, 7)
	if n, want := float64(len(due)), rate*length.Seconds(); math.Abs(n-want) > 5*math.Sqrt(want) {
		t.Errorf("%g requests, want about %g", n, want)
	}
	if !slices.IsSorted(due) || due[0] < 0 || due[len(due)-1] >= length {
		t.Error("the times are not in order, or not within the length")
	}
	var early int // gaps below the mean: 1-1/e of them if arrivals are independent
	for i := 1; i < len(due); i++ {
		if due[i]-due[i-1] < time.Second/rate {
			early++
		}
	}
	if got := float64(early) / float64(len(due)); math.Abs(got-(1-1/math.E)) > 0.02 {
		t.Errorf("%.3f of the gaps are below the mean, want %.3f", got, 1-1/math.E)
	}
	if !slices.Equal(due, Poisson(rate, length, 7)) {
		t.Error("the same seed gave other times")
	}
	if slices.Equal(due, Poisson(rate, length, 8)) {
		t.Error("another seed gave the same times")
	}
}

func TestConstantIsEven(t *testing.T) {
	got := Constant(4, time.Second)
	want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTurnsAreABBA(t *testing.T) {
	got := Turns([]time.Duration{0, 1, 2, 3, 4, 5, 6, 7, 8})
	if !slices.Equal(got[0], []time.Duration{0, 3, 4, 7, 8}) || !slices.Equal(got[1], []time.Duration{1, 2, 5, 6}) {
		t.Errorf("got %d", got)
	}
}

// server answers as the function says, in the time of a synctest bubble.
type server func(*http.Request) (status int, err error)

func (s server) RoundTrip(r *http.Request) (*http.Response, error) {
	status, err := s(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("ok"))}, nil
}

func wait(r *http.Request, d time.Duration) error {
	if !SleepUntil(r.Context(), time.Now().Add(d)) {
		return r.Context().Err()
	}
	return nil
}

func TestDriveSendsOnTimeHoweverSlowTheAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Generator{transport: server(func(r *http.Request) (int, error) {
			return http.StatusOK, wait(r, time.Second)
		}), url: "http://proxy/", limit: 100}
		begin := time.Now()
		for i, s := range g.Drive(t.Context(), begin, Constant(10, 2*time.Second)) {
			if s.Failed || s.Lag != 0 || s.Latency != time.Second || s.Due != time.Duration(i)*100*time.Millisecond {
				t.Errorf("request %d: %+v", i, s)
			}
		}
		if took := time.Since(begin); took != 2900*time.Millisecond {
			t.Errorf("it took %s: answers were not waited for, or requests were not sent meanwhile", took)
		}
	})
}

// What keeps a request from being sent is part of its Latency: else a generator that stands still while the server does
// would never see it.
func TestDriveCountsLatencyFromTheTimeDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Generator{transport: server(func(r *http.Request) (int, error) {
			return http.StatusOK, wait(r, 10*time.Millisecond)
		}), url: "http://proxy/", limit: 100}
		begin := time.Now().Add(-300 * time.Millisecond)
		got := g.Drive(t.Context(), begin, []time.Duration{0, 400 * time.Millisecond})
		if got[0].Lag != 300*time.Millisecond || got[0].Latency != 310*time.Millisecond {
			t.Errorf("the request that was late: %+v", got[0])
		}
		if got[1].Lag != 0 || got[1].Latency != 10*time.Millisecond {
			t.Errorf("the request in time: %+v", got[1])
		}
	})
}

func TestDriveCountsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Generator{transport: server(func(r *http.Request) (int, error) {
			switch r.Header.Get("X-Tenant") {
			case "0":
				return http.StatusOK, nil
			case "1":
				return http.StatusBadGateway, nil
			case "2":
				return 0, errors.New("refused")
			default:
				return http.StatusOK, wait(r, time.Hour)
			}
		}), url: "http://proxy/", limit: 1}
		due := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 20 * time.Second}
		got := g.Drive(t.Context(), time.Now(), due)
		want := []Sample{
			{Due: due[0]},
			{Due: due[1], Failed: true},
			{Due: due[2], Failed: true},
			{Due: due[3], Failed: true, Latency: RequestTimeout},
			{Due: due[4], Failed: true, Latency: RequestTimeout}, // as many as allowed are unanswered
			{Due: due[5], Failed: true, Latency: RequestTimeout},
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestDriveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Generator{transport: server(func(r *http.Request) (int, error) {
			return http.StatusOK, wait(r, time.Hour)
		}), url: "http://proxy/", limit: 100}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begin := time.Now()
		g.Drive(ctx, begin, Constant(1, time.Minute))
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("it took %s after the end", took)
		}
	})
}
