// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"errors"
	"fmt"
	"time"
)

// maxRequests bounds a run's memory: every latency is kept.
const maxRequests = 50_000_000

// maxServers bounds a scenario's pool.
const maxServers = 10_000

// Normalize fills in the defaults, and says what makes no sense.
func (sc *Scenario) Normalize() error {
	if sc.Name == "" {
		return errors.New("it has no name")
	}
	def(&sc.Duration, Duration(120*time.Second))
	def(&sc.From, Duration(5*time.Second))
	def(&sc.To, sc.Duration)
	def(&sc.Proxies, 1)
	def(&sc.Demand.Distribution, "lognormal")
	def(&sc.Demand.Mean, Duration(10*time.Millisecond))
	def(&sc.Demand.Sigma, 1)
	if sc.Copyable == nil {
		all := 1.0
		sc.Copyable = &all
	}
	for i := range sc.Servers {
		if err := sc.Servers[i].normalize(); err != nil {
			return fmt.Errorf("servers[%d]: %w", i, err)
		}
	}
	return sc.check()
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (sc *Scenario) check() error {
	n := len(sc.servers())
	switch d := sc.Demand.Distribution; {
	case n == 0:
		return errors.New("it has no servers")
	case n > maxServers:
		return fmt.Errorf("%d servers are more than %d", n, maxServers)
	case (sc.Load > 0) == (sc.Rate > 0) || sc.Load < 0 || sc.Rate < 0:
		return errors.New("give either a load or a rate, above 0")
	case d != "lognormal" && d != "exponential" && d != "constant":
		return fmt.Errorf("distribution %q is none of lognormal, exponential, constant", d)
	case sc.Demand.Mean < 0 || sc.Demand.Sigma < 0:
		return errors.New("a demand below 0")
	case sc.From < 0 || sc.From >= sc.To || sc.To > sc.Duration:
		return fmt.Errorf("from %v to %v is no part of %v", time.Duration(sc.From), time.Duration(sc.To), time.Duration(sc.Duration))
	case sc.Proxies < 1:
		return errors.New("proxies must be 1 or more")
	case *sc.Copyable < 0 || *sc.Copyable > 1:
		return fmt.Errorf("copyable %v is not between 0 and 1", *sc.Copyable)
	case sc.Watch != nil && (*sc.Watch < 0 || *sc.Watch >= n):
		return fmt.Errorf("watch %d: there are servers 0 to %d", *sc.Watch, n-1)
	case sc.rate()*time.Duration(sc.Duration).Seconds() > maxRequests:
		return fmt.Errorf("more than %d requests", maxRequests)
	}
	return sc.checkStart()
}

// checkStart makes sure that there is always someone to send to.
func (sc *Scenario) checkStart() error {
	for _, s := range sc.Servers {
		if s.Join == 0 {
			return nil
		}
	}
	return errors.New("no server is there from the start")
}

func (s *Server) normalize() error {
	def(&s.Count, 1)
	def(&s.Workers, 8)
	def(&s.Slowdown, 1)
	def(&s.RTT, Duration(500*time.Microsecond))
	def(&s.Weight, 1)
	for i := range s.Failures {
		def(&s.Failures[i].Value, 1)
	}
	switch {
	case s.Count < 0 || s.Workers < 0 || s.Slowdown < 0 || s.RTT < 0 || s.Weight < 0 || s.Zone < 0 || s.Join < 0:
		return errors.New("count, workers, slowdown, rtt, weight, zone and join cannot be below 0")
	case s.Cold != nil && (s.Cold.Slowdown < 1 || s.Cold.Requests <= 0):
		return errors.New("cold needs a slowdown of 1 or more and requests above 0")
	case s.Tail != nil && (s.Tail.Ratio < 0 || s.Tail.Ratio > 1 || s.Tail.Extra < 0):
		return errors.New("tail needs a ratio between 0 and 1 and an extra of 0 or more")
	}
	for _, list := range []struct {
		name     string
		windows  []Window
		min, max float64
	}{{"slow", s.Slow, 1e-3, 1e6}, {"stalls", s.Stalls, 0, 0}, {"failures", s.Failures, 0, 1}} {
		for i, w := range list.windows {
			if w.From < 0 || w.For <= 0 || w.Every < 0 || (w.Every > 0 && w.Every < w.For) {
				return fmt.Errorf("%s[%d]: a window begins at 0 or later, lasts, and is over before the next", list.name, i)
			}
			if w.Value < list.min || w.Value > list.max {
				return fmt.Errorf("%s[%d]: value %v is not between %v and %v", list.name, i, w.Value, list.min, list.max)
			}
		}
	}
	return nil
}

// servers lists the servers, each as often as it is counted.
func (sc *Scenario) servers() []Server {
	var out []Server
	for _, s := range sc.Servers {
		for range min(s.Count, maxServers+1-len(out)) {
			out = append(out, s)
		}
	}
	return out
}

// rate is the number of requests a second.
func (sc *Scenario) rate() float64 {
	if sc.Rate > 0 {
		return sc.Rate
	}
	workers := 0.0
	for _, s := range sc.servers() {
		workers += float64(s.Workers) / s.Slowdown
	}
	return sc.Load * workers / time.Duration(sc.Demand.Mean).Seconds()
}

// counted is the window of arrivals that the figures are about.
func (sc *Scenario) counted() (from, to int64) { return int64(sc.From), int64(sc.To) }
