// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// Outliers is how a policy treats upstreams that fail more than others, and those that are new or back.
//
// A failure is a request without an answer (connection refused or reset, a timeout of the proxy's), an answer whose body
// breaks off, or one with a failure status. What a client cancels or breaks off itself is none, nor is a request whose
// header no transport would send.
type Outliers struct {
	// FailureStatus are the statuses of an answer that count as failures, from 100 to 599; a digit from 1 to 5 stands for
	// the whole class. Default, also if empty: 5, that is 500 to 599.
	FailureStatus []int `json:"failure_status,omitempty"`

	// Eject is when an upstream gets no more requests but probes. Default: with the defaults of each field.
	Eject *Ejection `json:"eject,omitempty"`

	// Probe is how it is found out that an ejected upstream is back. Default: with the defaults of each field.
	Probe *Probing `json:"probe,omitempty"`

	// Ramp is the time in which an upstream that is new, recovered, healthy again or no longer drained comes to its full
	// share, at most 24h. Default, also for zero: 30s. A negative value means at once.
	Ramp caddy.Duration `json:"ramp,omitempty"`

	// Health are active checks of the upstreams. Default: none.
	Health *Health `json:"health,omitempty"`
}

// Ejection is when an upstream is ejected. Where all upstreams fail some requests, only one that fails more than the best
// of them is ejected.
type Ejection struct {
	// Off ejects nobody. It excludes the other fields. Default: false.
	Off bool `json:"off,omitempty"`

	// After is the number of failures in a row that ejects an upstream, at most 1000. More are needed where the best
	// upstream fails some requests too, so that chance alone does not eject. Default, also for zero: 5. A negative value
	// means that no number does.
	After int `json:"after,omitempty"`

	// Ratio is the part of its latest 32 requests or so that an upstream may fail more often than the best one before it
	// is ejected, from 0.01 to 1. Default, also for zero: 0.2. A negative value means that no ratio ejects.
	Ratio float64 `json:"ratio,omitempty"`

	// MaxEjected is the part of the pool that may be ejected at a time, from 0.01 to 1, rounded down to whole upstreams.
	// Default, also for zero: 0.5.
	MaxEjected float64 `json:"max_ejected,omitempty"`

	// Panic is the part of the pool, from 0.01 to 1, that must be usable: neither ejected nor unavailable. With less,
	// ejected upstreams get requests again, as the others could not carry them all, and so do those that Caddy's health
	// checks find unhealthy, unless the handler has a circuit breaker. What an operator drained is no part of the pool.
	// Default, also for zero: 0.5. A negative value means never.
	Panic float64 `json:"panic,omitempty"`
}

// Probing is how it is found out that an ejected upstream is back.
type Probing struct {
	// NoCopies sends no copies. Otherwise copies of GET and HEAD requests are used whose answers nobody sees, so that the
	// upstream gets such a request though another one answers it. Default: false.
	NoCopies bool `json:"no_copies,omitempty"`

	// Request is the path and query of a GET request of the proxy's own, which is sent where no client's could be copied
	// for twice as long. Once it is answered, and not with a failure status, a client's own request finds out. If another
	// upstream does not answer it either, it says nothing, and passes for answered. "off" has clients' own requests find
	// out at once, at times that grow much further apart, as these clients see a failure. Transports other than HTTP and
	// FastCGI are off. Default: the request of the health checks with what they expect, and without such, "/".
	Request string `json:"request,omitempty"`

	// First is the time from the ejection to the first probe, from 100ms to 10m. It doubles with every failed probe; for
	// requests of the proxy's own it is twice as long, for clients' own too, and triples up to 10m. Default, also for zero:
	// 1s.
	First caddy.Duration `json:"first,omitempty"`

	// Longest is the longest time between two probes by copies, from First to 10m. Default, also for zero: 10s, or First
	// if that is longer.
	Longest caddy.Duration `json:"longest,omitempty"`

	// Successes is the number of answered probes in a row that end an ejection, at most 100. Default, also for zero: 3.
	Successes int `json:"successes,omitempty"`
}

const (
	smallestRatio   = 0.01
	mostFailures    = 1000
	mostSuccesses   = 100
	shortestProbe   = caddy.Duration(100 * time.Millisecond)
	longestProbe    = caddy.Duration(10 * time.Minute)
	defaultLongest  = caddy.Duration(10 * time.Second)
	longestRamp     = caddy.Duration(24 * time.Hour)
	serverErrorOnly = 5
	highestStatus   = 599
	requestOff      = "off"
)

// failureStatus returns the statuses and classes that count as failures.
func (o *Outliers) failureStatus() []int {
	if len(o.FailureStatus) == 0 {
		return []int{serverErrorOnly}
	}
	return o.FailureStatus
}

func (o *Outliers) noCopies() bool { return o.Probe != nil && o.Probe.NoCopies }

// apply checks the options and writes them into p, zero for the estimator's defaults.
func (o *Outliers) apply(p *estimator.Params) error {
	for _, status := range o.FailureStatus {
		if err := checkStatus(status); err != nil {
			return fmt.Errorf("failure_status: %w", err)
		}
	}
	if o.Ramp > longestRamp {
		return fmt.Errorf("ramp: expected at most 24h, found %s", time.Duration(o.Ramp))
	}
	p.Ramp = time.Duration(max(o.Ramp, estimator.Off))
	if o.Eject != nil {
		if err := o.Eject.apply(p); err != nil {
			return fmt.Errorf("eject: %w", err)
		}
	}
	if o.Probe != nil {
		if err := o.Probe.apply(p); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	return nil
}

func checkStatus(status int) error {
	if status >= 1 && status <= 5 || status >= 100 && status <= 599 {
		return nil
	}
	return fmt.Errorf("expected a status such as 503 or a class such as 5xx, found %d", status)
}

func (e *Ejection) apply(p *estimator.Params) error {
	if e.Off {
		if *e != (Ejection{Off: true}) {
			return fmt.Errorf("off excludes the other options")
		}
		p.EjectAfter, p.EjectRatio = estimator.Off, estimator.Off
		return nil
	}
	if e.After > mostFailures {
		return fmt.Errorf("after: expected at most %d, found %d", mostFailures, e.After)
	}
	if e.MaxEjected < 0 {
		return fmt.Errorf("max_ejected: expected a number from %g to 1, found %g", smallestRatio, e.MaxEjected)
	}
	for _, ratio := range []struct {
		name  string
		value float64
	}{{"ratio", e.Ratio}, {"max_ejected", e.MaxEjected}, {"panic", e.Panic}} {
		if ratio.value > 0 && !(ratio.value >= smallestRatio && ratio.value <= 1) {
			return fmt.Errorf("%s: expected a number from %g to 1, found %g", ratio.name, smallestRatio, ratio.value)
		}
	}
	p.EjectAfter, p.EjectRatio = max(e.After, estimator.Off), max(e.Ratio, estimator.Off)
	p.MaxEjected, p.Panic = e.MaxEjected, max(e.Panic, estimator.Off)
	return nil
}

func (o *Probing) apply(p *estimator.Params) error {
	first, longest := o.First, o.Longest
	if first == 0 {
		first = caddy.Duration(time.Second)
	}
	if longest == 0 {
		longest = max(first, defaultLongest)
	}
	switch {
	case first < shortestProbe || first > longestProbe:
		return fmt.Errorf("first: expected a duration from 100ms to 10m, found %s", time.Duration(first))
	case longest < first || longest > longestProbe:
		return fmt.Errorf("longest: expected a duration from %s (first) to 10m, found %s", time.Duration(first), time.Duration(longest))
	case o.Successes < 0 || o.Successes > mostSuccesses:
		return fmt.Errorf("successes: expected a number from 1 to %d, found %d", mostSuccesses, o.Successes)
	}
	if err := checkRequest(o.Request); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	p.ProbeFirst, p.ProbeMax, p.RecoverAfter = time.Duration(first), time.Duration(longest), o.Successes
	return nil
}
