// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// RequestTimeout is when a request counts as failed; it is longer than any fault of a scenario.
	RequestTimeout = 10 * time.Second
	// maxInFlight bounds the generator's goroutines. A request that finds as many waiting counts as failed.
	maxInFlight = 4096
	// tenants is how many keys there are for policies that hash one.
	tenants = 1000
)

// Poisson is the times of requests that arrive independently of one another, rate a second on average. The same seed
// gives the same times.
func Poisson(rate float64, length time.Duration, seed uint64) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 0))
	var due []time.Duration
	for at := 0.0; ; {
		at += random.ExpFloat64() / rate
		t := time.Duration(at * float64(time.Second))
		if t >= length {
			return due
		}
		due = append(due, t)
	}
}

// Constant is the times of requests that arrive evenly, rate a second.
func Constant(rate float64, length time.Duration) []time.Duration {
	due := make([]time.Duration, 0, int(rate*length.Seconds())+1)
	for i := 0; ; i++ {
		t := time.Duration(float64(i) / rate * float64(time.Second))
		if t >= length {
			return due
		}
		due = append(due, t)
	}
}

// Sample is what became of one request. Its latency counts from the time at which it was due, whatever kept it from
// being sent: a client does not come later because others wait.
type Sample struct {
	Due, Lag, Latency time.Duration
	Failed            bool
}

// Generator is an open-loop source of requests: each is sent at its time, however many are unanswered.
type Generator struct {
	transport http.RoundTripper
	url       string
	limit     int // requests unanswered at once
}

// NewGenerator makes one with connections of its own; close ends them.
func NewGenerator(url string) (g *Generator, closeIdle func()) {
	t := &http.Transport{MaxIdleConns: maxInFlight, MaxIdleConnsPerHost: maxInFlight, DisableCompression: true}
	return &Generator{transport: t, url: url, limit: maxInFlight}, t.CloseIdleConnections
}

// Drive sends a request at each time after begin and returns when all are answered. If ctx ends before, the samples are
// worth nothing.
func (g *Generator) Drive(ctx context.Context, begin time.Time, due []time.Duration) []Sample {
	samples := make([]Sample, len(due))
	free := make(chan struct{}, g.limit)
	var running sync.WaitGroup
	defer running.Wait()
	for i, at := range due {
		s := &samples[i]
		s.Due = at
		if !SleepUntil(ctx, begin.Add(at)) {
			return samples
		}
		select {
		case free <- struct{}{}:
		default:
			s.Failed, s.Latency = true, RequestTimeout
			continue
		}
		running.Go(func() {
			s.Lag = time.Since(begin) - at
			s.Failed = !g.Get(ctx, i)
			s.Latency = time.Since(begin) - at
			<-free
		})
	}
	return samples
}

// Get reports whether the answer came whole, in time, and with status 200.
func (g *Generator) Get(ctx context.Context, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, nil)
	if err != nil {
		return false
	}
	req.Header.Set("X-Tenant", strconv.Itoa(i%tenants))
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// SleepUntil reports whether the time came before the end of ctx.
func SleepUntil(ctx context.Context, t time.Time) bool {
	wait := time.Until(t)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
