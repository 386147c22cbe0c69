// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// Duration is a time.Duration that JSON writes as text: "2s", "0.5ms".
type Duration time.Duration

// UnmarshalJSON reads the text that time.ParseDuration reads.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is text such as \"2s\", not %s", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes the text that UnmarshalJSON reads.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// File is a file of scenarios.
type File struct {
	// Scenarios are run in this order.
	Scenarios []Scenario `json:"scenarios"`
}

// Scenario is a pool of servers, their faults, and the load on them.
type Scenario struct {
	// Name heads the scenario's table.
	Name string `json:"name"`
	// Servers are the upstreams. Required.
	Servers []Server `json:"servers"`
	// Load is the arriving demand as a part of what the servers can do at their nominal speed, times their slowdown; all
	// that ever join count. Give either Load or Rate.
	Load float64 `json:"load,omitempty"`
	// Rate is the number of requests a second. Give either Load or Rate.
	Rate float64 `json:"rate,omitempty"`
	// Duration is the simulated time. Default 120s.
	Duration Duration `json:"duration,omitempty"`
	// From is the first arrival that is counted. Default 5s.
	From Duration `json:"from,omitempty"`
	// To is where counting ends. Default: the duration.
	To Duration `json:"to,omitempty"`
	// Demand is the work a request brings. Default lognormal, mean 10ms, sigma 1.
	Demand Demand `json:"demand,omitzero"`
	// Proxies is how many proxies, which know nothing of one another, share the load in turn. Default 1.
	Proxies int `json:"proxies,omitempty"`
	// Copyable is the part of requests that are safe to copy, 0 to 1. Default 1.
	Copyable *float64 `json:"copyable,omitempty"`
	// Watch is the index of the server whose share the table shows, the bad or the new one. Default: the least share.
	Watch *int `json:"watch,omitempty"`
}

// Server is one upstream, or several alike.
type Server struct {
	// Count is how many such servers there are. Default 1.
	Count int `json:"count,omitempty"`
	// Workers is how many requests it works on at once; others wait in the order of arrival. Default 8.
	Workers int `json:"workers,omitempty"`
	// Slowdown multiplies each request's demand. Default 1.
	Slowdown float64 `json:"slowdown,omitempty"`
	// RTT is the network's part of each request. Default 0.5ms.
	RTT Duration `json:"rtt,omitempty"`
	// Weight is the configured weight. Default 1.
	Weight float64 `json:"weight,omitempty"`
	// Zone is the configured zone; 0 is the nearest. Default 0.
	Zone int `json:"zone,omitempty"`
	// Join is when the server comes into the pool. Default: from the start.
	Join Duration `json:"join,omitempty"`
	// Cold makes the server slow until it has served some requests. Default: it is not.
	Cold *Cold `json:"cold,omitempty"`
	// Slow are windows in which it is slower by the window's value.
	Slow []Window `json:"slow,omitempty"`
	// Stalls are windows in which nothing moves.
	Stalls []Window `json:"stalls,omitempty"`
	// Failures are windows in which the part of requests in the window's value fails at once, without queueing.
	Failures []Window `json:"failures,omitempty"`
	// Tail adds time to a part of the requests. Default: none.
	Tail *Tail `json:"tail,omitempty"`
}

// Window is a stretch of time, once or again and again.
type Window struct {
	// From is the first beginning.
	From Duration `json:"from"`
	// For is how long it lasts. Required.
	For Duration `json:"for"`
	// Every is the time between beginnings. Default: it happens once.
	Every Duration `json:"every,omitempty"`
	// Value is a slow window's factor or a failure window's ratio. Default 1 for failures; stalls have none.
	Value float64 `json:"value,omitempty"`
}

// Cold is how a server warms up.
type Cold struct {
	// Slowdown is the factor at the first request.
	Slowdown float64 `json:"slowdown"`
	// Requests is the number of served requests in which the extra slowness falls to 37 percent.
	Requests float64 `json:"requests"`
}

// Tail is occasional extra time.
type Tail struct {
	// Ratio is the part of requests that get it, 0 to 1.
	Ratio float64 `json:"ratio"`
	// Extra is the time they get; no worker is busy in it.
	Extra Duration `json:"extra"`
}

// Demand is a distribution of work.
type Demand struct {
	// Distribution is lognormal, exponential or constant. Default lognormal.
	Distribution string `json:"distribution,omitempty"`
	// Mean is the average time on a free worker. Default 10ms.
	Mean Duration `json:"mean,omitempty"`
	// Sigma is the lognormal's spread. Default 1.
	Sigma float64 `json:"sigma,omitempty"`
}

func (d *Demand) draw(r *rand.Rand) float64 {
	mean := float64(d.Mean)
	switch d.Distribution {
	case "exponential":
		return r.ExpFloat64() * mean
	case "constant":
		return mean
	default:
		return mean * math.Exp(d.Sigma*r.NormFloat64()-d.Sigma*d.Sigma/2)
	}
}

// ReadFile reads a File strictly: what it does not know is an error, and so is what makes no sense.
func ReadFile(in io.Reader) ([]Scenario, error) {
	var f File
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("reading scenarios: %w", err)
	}
	if dec.More() {
		return nil, errors.New("reading scenarios: something follows the closing brace")
	}
	if len(f.Scenarios) == 0 {
		return nil, errors.New("reading scenarios: there are none")
	}
	for i := range f.Scenarios {
		if err := f.Scenarios[i].Normalize(); err != nil {
			return nil, fmt.Errorf("scenario %d (%q): %w", i, f.Scenarios[i].Name, err)
		}
	}
	return f.Scenarios, nil
}
