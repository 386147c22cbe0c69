// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Measure is the moment of an answer up to which its latency counts.
type Measure uint8

const (
	// ToHeaders counts until the response headers are there. It is the default: how long a body takes is often the
	// client's doing.
	ToHeaders Measure = iota
	// ToEnd counts until the body's end. It suits pools that differ in how fast they send.
	ToEnd
)

// Params are what the estimates, the choice and the ejection go by. Zero fields mean the default, except where a
// comment says otherwise; Off (or any value below 0) turns a part off.
type Params struct {
	// Measure is what a latency is: time to headers (the default) or to the body's end.
	Measure Measure

	// Memory is the time in which an observation's weight falls to 37 percent. Default 5s. Longer is steadier, shorter
	// sees a change sooner. At a high rate the last 64 or so of a load level outweigh what was before them anyway.
	Memory time.Duration
	// Queueing is how many times the queueing part of the expected latency is charged on top of itself: one request more
	// on a busy upstream also delays the requests after it, which no latency shows to the one who decides. Default 1.
	Queueing float64
	// Band is the tie band: among upstreams whose expected latency is within this part above the least one, the least
	// loaded is taken. It keeps proxies that know the same from all going to the same place. Default 0.5.
	Band float64
	// Silence is how many times the usual time between two answers an upstream may keep quiet, with requests waiting,
	// until it counts as stalled. Default 4.5.
	Silence float64
	// Explore is the part of its fair share that an upstream gets at least, however slow, so that a recovery is seen.
	// One request at a time. Default 0.01.
	Explore float64
	// ZoneSpill is how far the expected latency of a nearer zone's best upstream may rise above its idle latency, as a
	// part of it, until the next zone is used too. Default 0.5. Off ignores zones.
	ZoneSpill float64

	// FailureCost is what a certain failure costs, in idle latencies of the pool: an upstream that fails one percent
	// more than the best one is charged one hundredth of it. Default 100.
	FailureCost float64
	// FailureTolerance is the failure ratio above the best upstream's that costs nothing. Default 0.02. What the best
	// upstream fails by itself is added, with two standard deviations.
	FailureTolerance float64

	// EjectAfter is the number of failures in a row that eject an upstream. Default 5. Where the whole pool fails
	// requests, more are asked for, so that such a run is less likely than one in a billion by chance.
	EjectAfter int
	// EjectRatio is the recent failure ratio above the best upstream's that ejects, over about 32 attempts. Three standard
	// deviations of what the best one fails are added. Default 0.2.
	EjectRatio float64
	// MaxEjected is the part of a pool that may be ejected at a time, rounded down. Default 0.5.
	MaxEjected float64
	// Panic is the part of a pool that must be usable; with less, ejections are ignored, as many upstreams that are a
	// little ill serve better than one that drowns. Default 0.5.
	Panic float64
	// ProbeFirst is the time from ejection to the first probe. It doubles with every failed probe. Default 1s.
	ProbeFirst time.Duration
	// ProbeMax is the longest time between two probes by copies of requests. Default 10s.
	ProbeMax time.Duration
	// ProbeClientMax is the longest time between two probes by a client's own request, whose failure the client sees.
	// They are used where no request may be copied, and their distance triples instead. Where the proxy can ask by a
	// request of its own, they are used only once that was answered. Default 10m.
	ProbeClientMax time.Duration
	// RecoverAfter is the number of good probes in a row that end an ejection. Default 3, at least 1.
	RecoverAfter int

	// Ramp is the time in which a new or recovered upstream comes to its full share. Default 30s.
	Ramp time.Duration

	// RateMemory is the time over which the byte rate of least bandwidth is taken. Default 5s.
	RateMemory time.Duration
	// Sample is how many upstreams are drawn and compared when a pool has more than 64. Default 32, at most 64.
	Sample int
}

// Off turns a part off, in the fields of Params where a ratio or a count is off at 0.
const Off = -1

// FullScan is the largest pool of which every upstream is looked at for every choice.
const FullScan = 64

func (p Params) withDefaults() Params {
	def(&p.Memory, 5*time.Second)
	def(&p.Queueing, 1)
	def(&p.Band, .5)
	def(&p.Silence, 4.5)
	def(&p.Explore, .01)
	def(&p.ZoneSpill, .5)
	def(&p.FailureCost, 100)
	def(&p.FailureTolerance, .02)
	def(&p.EjectAfter, 5)
	def(&p.EjectRatio, .2)
	def(&p.MaxEjected, .5)
	def(&p.Panic, .5)
	def(&p.ProbeFirst, time.Second)
	def(&p.ProbeMax, 10*time.Second)
	def(&p.ProbeClientMax, 10*time.Minute)
	def(&p.RecoverAfter, 3)
	def(&p.Ramp, 30*time.Second)
	def(&p.RateMemory, 5*time.Second)
	def(&p.Sample, 32)
	return p
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Validate says which field makes no sense.
func (p Params) Validate() error {
	for _, f := range []struct {
		name  string
		value float64
		max   float64
	}{
		{"queueing", p.Queueing, math.MaxFloat64},
		{"band", p.Band, math.MaxFloat64},
		{"silence", p.Silence, math.MaxFloat64},
		{"zone spill", p.ZoneSpill, math.MaxFloat64},
		{"failure cost", p.FailureCost, math.MaxFloat64},
		{"explore", p.Explore, 1},
		{"failure tolerance", p.FailureTolerance, 1},
		{"eject ratio", p.EjectRatio, 1},
		{"max ejected", p.MaxEjected, 1},
		{"panic", p.Panic, 1},
		{"sample", float64(p.Sample), FullScan},
	} {
		if f.value > f.max || math.IsNaN(f.value) {
			return fmt.Errorf("%s %v is above %v", f.name, f.value, f.max)
		}
	}
	if p.Memory < 0 || p.RateMemory < 0 || p.ProbeFirst < 0 || p.ProbeMax < 0 || p.ProbeClientMax < 0 || p.Sample < 0 {
		return errors.New("memory, rate memory, probe times and sample cannot be below 0")
	}
	if p.Measure > ToEnd {
		return fmt.Errorf("unknown measure %d", p.Measure)
	}
	return nil
}
