// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"math"
	"math/rand/v2"
)

// server is one simulated upstream: first in, first out, with a fixed number of workers.
type server struct {
	Server
	stalls, slow []span
	failures     []span
	free         []int64 // when each worker is free
	served       int
}

// span is a window in nanoseconds; value is the factor or the ratio that holds within.
type span struct {
	from, to int64
	value    float64
}

func newServer(s Server, until int64) *server {
	return &server{
		Server: s, free: make([]int64, s.Workers),
		stalls: spans(s.Stalls, until), slow: spans(s.Slow, until), failures: spans(s.Failures, until),
	}
}

// spans lists the occurrences of windows before until.
func spans(windows []Window, until int64) []span {
	var out []span
	for _, w := range windows {
		for from := int64(w.From); from < until; from += int64(w.Every) {
			out = append(out, span{from, from + int64(w.For), w.Value})
			if w.Every == 0 {
				break
			}
		}
	}
	return out
}

// at returns the value of the span that holds t, or otherwise.
func at(spans []span, t int64, otherwise float64) float64 {
	for _, s := range spans {
		if t >= s.from && t < s.to {
			return s.value
		}
	}
	return otherwise
}

// advance returns when work begun at t is done, as nothing moves during a stall.
func (s *server) advance(t int64, work float64) int64 {
	for _, w := range s.stalls {
		if w.to <= t {
			continue
		}
		if float64(w.from) >= float64(t)+work {
			break
		}
		if w.from > t {
			work -= float64(w.from - t)
		}
		t = w.to
	}
	return t + int64(work)
}

// factor is how many times slower than nominal the server works at t.
func (s *server) factor(t int64) float64 {
	f := s.Slowdown * at(s.slow, t, 1)
	if s.Cold != nil {
		f *= 1 + (s.Cold.Slowdown-1)*math.Exp(-float64(s.served)/s.Cold.Requests)
	}
	return f
}

// finish returns when the answer to a request sent at t is back, and which worker would do it.
func (s *server) finish(t int64, demand float64) (back int64, worker int) {
	for i, f := range s.free {
		if f < s.free[worker] {
			worker = i
		}
	}
	start := max(t+int64(s.RTT)/2, s.free[worker])
	return s.advance(start, demand*s.factor(start)) + int64(s.RTT)/2, worker
}

// serve takes a request sent at t, and returns when its answer is back and whether it is a failure.
func (s *server) serve(t int64, demand float64, luck *rand.Rand) (back int64, failed bool) {
	if ratio := at(s.failures, t, 0); ratio > 0 && (ratio >= 1 || luck.Float64() < ratio) {
		return t + int64(s.RTT), true
	}
	back, worker := s.finish(t, demand)
	s.free[worker] = back - int64(s.RTT)/2
	s.served++
	if s.Tail != nil && luck.Float64() < s.Tail.Ratio {
		back += int64(s.Tail.Extra)
	}
	return back, false
}

// world is everything that the policies cannot see.
type world struct {
	servers []*server
	mean    float64 // of the demand, nanoseconds
}

func (w *world) delay(i int, now int64) float64 {
	s := w.servers[i]
	if at(s.failures, now, 0) > 0 {
		return math.Inf(1)
	}
	back, _ := s.finish(now, w.mean)
	return float64(back - now)
}
