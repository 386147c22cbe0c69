// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"math"
	"sync/atomic"
)

// published are the figures that choices read, as bits of float64; latencies in nanoseconds. Only the load levels up to
// the highest known one are kept: most upstreams see few, each answer renews them, and the others follow from these.
type published struct {
	typical   atomic.Uint64 // mean latency
	idle      atomic.Uint64 // latency when nothing queues
	surcharge atomic.Uint64 // for failures
	top       atomic.Int64  // the highest level that expected holds
	expected  [levels]atomic.Uint64
}

// set renews the figures. A reader beside it may see some of them new and others old.
func (p *published) set(typical, idle, surcharge float64, expected []float64) {
	storeFloat(&p.typical, typical)
	storeFloat(&p.idle, idle)
	storeFloat(&p.surcharge, surcharge)
	for l, e := range expected {
		storeFloat(&p.expected[l], e)
	}
	if top := int64(len(expected)) - 1; p.top.Load() != top {
		p.top.Store(top)
	}
}

// at is the latency to expect at load level l.
func (p *published) at(l int) float64 {
	top := int(p.top.Load())
	if l <= top {
		return loadFloat(&p.expected[l])
	}
	return extrapolate(loadFloat(&p.expected[top]), top, l)
}

// price is what an upstream with this latency is charged with: that, what it has of queueing once more as often as asked
// for, and what failures cost.
func (p *published) price(expected, queueing float64) float64 {
	if queued := expected - loadFloat(&p.idle); queued > 0 {
		expected += queueing * queued
	}
	return expected + loadFloat(&p.surcharge)
}

func loadFloat(v *atomic.Uint64) float64 { return math.Float64frombits(v.Load()) }

func storeFloat(v *atomic.Uint64, x float64) {
	if bits := math.Float64bits(x); v.Load() != bits { // to write costs more than to look
		v.Store(bits)
	}
}
