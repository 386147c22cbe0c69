// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"
)

// path is what is asked for: small, so that the choice of an upstream is what costs.
const path = "/bytes/512"

// What a scenario's five upstreams are when they are well: together 667 requests a second, of which half are used.
const (
	upstreams   = 5
	illUpstream = 2 // in the middle, so that neither the first nor the last has it by chance
	liveRate    = 330
	wellLatency = "lognormal:30ms,0.7"
	well        = `{"workers": 4, "latency": "` + wellLatency + `"}`

	// stallLength and stallEvery describe the stalls; the last begins lastStall before the end, so that what waited
	// is answered within the counted time.
	stallLength = 2 * time.Second
	stallEvery  = 6 * time.Second
	lastStall   = 4 * time.Second
	// outageAt is when the black hole opens, in the counted time.
	outageAt = time.Second
)

// scenario is how one upstream falls ill.
type scenario struct {
	name, title string
	// steady is set at the ill upstream before the proxy starts; faults are set during the run.
	steady string
	faults func(warm, counted time.Duration) []fault
}

// fault is a change of the ill upstream's settings at a time after the first request of the warm-up.
type fault struct {
	at    time.Duration
	patch string
}

func (s scenario) Key() string { return s.name }

const (
	slow      = "slow"
	blackHole = "blackhole"
	stalls    = "stalls"
)

func scenarios() []scenario {
	return []scenario{
		{name: slow, title: "One of five is five times slower", steady: `{"latency": "lognormal:150ms,0.7"}`},
		{name: blackHole, title: "Black hole: one of five answers 500 at once", faults: breakOnce},
		{name: stalls, title: "One of five stands still for 2 s every 6 s", faults: freezeOften},
	}
}

// breakOnce is one outage that lasts until the end.
func breakOnce(warm, _ time.Duration) []fault {
	return []fault{{warm + outageAt, `{"error_rate": 1}`}}
}

// freezeOften is an illness that was there before, as slowness is: a whole run has one stall in its warm-up, and what an
// upstream's stall teaches may help in the next.
func freezeOften(warm, counted time.Duration) []fault {
	var faults []fault
	for at := warm + counted - lastStall; at >= 0; at -= stallEvery {
		faults = append(faults, fault{at, `{"freeze": "` + stallLength.String() + `"}`})
	}
	slices.Reverse(faults)
	return faults
}
