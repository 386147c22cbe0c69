// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// dynamicLabel stands for all upstreams that no config names: a dynamic source may bring any number of addresses.
const dynamicLabel = "dynamic"

// Attempts are counted by status class; classes 0 and 6 are those without an answer.
const (
	classError    = 0
	classServer   = 5 // 5xx
	classCanceled = 6
	classCount    = 7
)

// className returns the label of a class.
func className(class int) string {
	switch class {
	case classError:
		return "error"
	case classCanceled:
		return "canceled"
	}
	return string(rune('0'+class)) + "xx"
}

const boundCount = 13

// latencyBounds returns the upper bounds of the latency histogram's buckets in seconds.
func latencyBounds() [boundCount]float64 {
	return [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// latencyBucket returns the position of the first bound that is not below a latency, boundCount if there is none.
func latencyBucket(seconds float64) int {
	for i, bound := range latencyBounds() {
		if seconds <= bound {
			return i
		}
	}
	return boundCount
}

// tally counts the outcomes of one upstream's attempts. It only grows.
type tally struct {
	byClass   [classCount]atomic.Uint64
	byLatency [boundCount + 1]atomic.Uint64 // of answered attempts; the last one counts what is above all bounds
	nanos     atomic.Uint64                 // the sum of their latencies
	broken    atomic.Uint64                 // answers below 500 whose body broke off
}

// count counts an attempt that was answered, failed or was cancelled.
func (t *tally) count(o outcome) {
	class := min(o.status/100, classServer) // 0 for no answer; statuses from 600 count as 5xx
	if o.canceled {
		class = classCanceled
	}
	t.byClass[class].Add(1)
	if o.status == 0 {
		return
	}
	t.byLatency[latencyBucket(o.elapsed.Seconds())].Add(1)
	t.nanos.Add(uint64(o.elapsed))
}

// totals is a sum of tallies at one moment.
type totals struct {
	byClass   [classCount]uint64
	byLatency [boundCount + 1]uint64
	seconds   float64
	broken    uint64
	received  uint64
	inFlight  int64
}

func (s *totals) add(t *tally, received uint64) {
	for i := range t.byClass {
		s.byClass[i] += t.byClass[i].Load()
	}
	for i := range t.byLatency {
		s.byLatency[i] += t.byLatency[i].Load()
	}
	s.seconds += float64(t.nanos.Load()) / 1e9
	s.broken += t.broken.Load()
	s.received += received
}

// requests is the number of attempts that came to an answer, an error or a cancellation.
func (s *totals) requests() (n uint64) {
	for _, c := range s.byClass {
		n += c
	}
	return n
}

// failures is the number of attempts without an answer, with a 5xx, or with a body that broke off.
func (s *totals) failures() uint64 { return s.byClass[classError] + s.byClass[classServer] + s.broken }

// collector returns the process's one collector of upstream metrics. It reads the registry when it is scraped, so counting
// costs an attempt a few atomic additions.
var collector = sync.OnceValue(func() prometheus.Collector { return newUpstreamCollector(registered) })

type upstreamCollector struct {
	registry                                                    *registry
	requests, failures, latency, inFlight, received, remembered *prometheus.Desc
}

func newUpstreamCollector(r *registry) *upstreamCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "upstream", name), help, labels, nil)
	}
	return &upstreamCollector{
		registry:   r,
		requests:   desc("requests_total", "Attempts by upstream and outcome: status class, error or canceled.", "upstream", "class"),
		failures:   desc("failures_total", "Attempts that ended in an error, a 5xx or a broken body.", "upstream"),
		latency:    desc("latency_seconds", "Time from sending a request to its response headers.", "upstream"),
		inFlight:   desc("in_flight", "Attempts whose response is not complete.", "upstream"),
		received:   desc("received_bytes_total", "Bytes of response bodies.", "upstream"),
		remembered: desc("remembered", "Upstreams in memory, at most 10000."),
	}
}

// Describe implements prometheus.Collector.
func (c *upstreamCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.requests, c.failures, c.latency, c.inFlight, c.received, c.remembered} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *upstreamCollector) Collect(ch chan<- prometheus.Metric) {
	sums, remembered := c.registry.totals()
	ch <- prometheus.MustNewConstMetric(c.remembered, prometheus.GaugeValue, float64(remembered))
	for label, s := range sums {
		for i, n := range s.byClass {
			if n > 0 {
				ch <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(n), label, className(i))
			}
		}
		ch <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(s.failures()), label)
		ch <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(s.inFlight), label)
		ch <- prometheus.MustNewConstMetric(c.received, prometheus.CounterValue, float64(s.received), label)
		ch <- s.histogram(c.latency, label)
	}
}

func (s *totals) histogram(desc *prometheus.Desc, label string) prometheus.Metric {
	cumulative := make(map[float64]uint64, boundCount)
	var count uint64
	for i, bound := range latencyBounds() {
		count += s.byLatency[i]
		cumulative[bound] = count
	}
	count += s.byLatency[boundCount]
	return prometheus.MustNewConstHistogram(desc, count, s.seconds, cumulative, label)
}

// sumOf returns the sum that an upstream belongs to: that of its address, or that of all which no config names.
func sumOf[T any](sums map[string]*T, address string, u *upstream) *T {
	if !u.static {
		address = dynamicLabel
	}
	if sums[address] == nil {
		sums[address] = new(T)
	}
	return sums[address]
}

// totals sums up what the registry knows, by the upstream's label, and returns how many upstreams it holds.
func (r *registry) totals() (map[string]*totals, int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	sums := map[string]*totals{}
	if r.retired.requests() > 0 {
		retired := r.retired
		sums[dynamicLabel] = &retired
	}
	for address, u := range r.upstreams {
		sum := sumOf(sums, address, u)
		sum.add(&u.tally, u.received.Load())
		sum.inFlight += u.load()
	}
	return sums, len(r.upstreams)
}
