// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// EstimateStatus is what a policy that estimates knows of an upstream. Handlers with the same policy and parameters share
// it.
type EstimateStatus struct {
	// Policy is the name of the selection policy.
	Policy string `json:"policy"`

	estimator.Snapshot
}

// estimateStatuses returns what all policies know of the upstream.
func (u *upstream) estimateStatuses() []EstimateStatus {
	var all []EstimateStatus
	for _, e := range u.entries() {
		all = append(all, EstimateStatus{Policy: e.book.policy, Snapshot: e.estimate.Snapshot(e.book.now())})
	}
	return all
}

// state sums up in words whether the upstream gets requests.
func (s *Status) state() string {
	if s.Drained {
		return "drained"
	}
	state := "open"
	for _, e := range s.Estimates {
		if e.Ejected {
			return fmt.Sprintf("ejected (%s), probe in %s", e.Reason, e.NextProbe.Round(100*time.Millisecond))
		}
		if e.Ramp < 1 {
			state = fmt.Sprintf("ramp %.0f%%", e.Ramp*100)
		}
	}
	return state
}

// response is the latency to expect of one more request, the longest of all policies' estimates.
func (s *Status) response() string {
	longest := 0.
	for _, e := range s.Estimates {
		longest = max(longest, e.Expected)
	}
	if longest == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3gms", longest*1000)
}

// failing is the recent failure ratio, the highest of all policies' estimates.
func (s *Status) failing() string {
	if len(s.Estimates) == 0 {
		return "-"
	}
	highest := 0.
	for _, e := range s.Estimates {
		highest = max(highest, e.FailureRatio)
	}
	return fmt.Sprintf("%.1f%%", highest*100)
}

// estimateCollector returns the process's one collector of ejections' metrics. It reads the registry when it is scraped.
var estimateCollector = sync.OnceValue(func() prometheus.Collector { return newEstimateMetrics(registered) })

type estimateMetrics struct {
	registry                          *registry
	ejected, ejections, copies, asked *prometheus.Desc
}

func newEstimateMetrics(r *registry) *estimateMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "upstream", name), help, []string{"upstream"}, nil)
	}
	return &estimateMetrics{
		registry: r,
		ejected: desc("ejected", "How many policies have ejected the upstream; for upstream=\"dynamic\", added up over the "+
			"upstreams."),
		ejections: desc("ejections_total", "Ejections of the upstream by policies that measure failures."),
		copies:    desc("probe_copies_total", "Copies of requests sent to the ejected upstream; they are not among its requests."),
		asked:     desc("probe_requests_total", "Requests of the proxy's own sent to the ejected upstream; they are not among its requests."),
	}
}

// Describe implements prometheus.Collector.
func (m *estimateMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.ejected
	ch <- m.ejections
	ch <- m.copies
	ch <- m.asked
}

// Collect implements prometheus.Collector.
func (m *estimateMetrics) Collect(ch chan<- prometheus.Metric) {
	for label, t := range m.registry.estimateTotals() {
		ch <- prometheus.MustNewConstMetric(m.ejected, prometheus.GaugeValue, float64(t.ejected), label)
		ch <- prometheus.MustNewConstMetric(m.ejections, prometheus.CounterValue, float64(t.ejections), label)
		ch <- prometheus.MustNewConstMetric(m.copies, prometheus.CounterValue, float64(t.copies), label)
		ch <- prometheus.MustNewConstMetric(m.asked, prometheus.CounterValue, float64(t.asked), label)
	}
}

// estimateTotals is a sum over the estimates of the upstreams of one label.
type estimateTotals struct{ ejected, ejections, copies, asked uint64 }

func (t *estimateTotals) add(u *upstream) {
	t.ejections += u.pastEjections.Load()
	t.copies += u.copies.Load()
	t.asked += u.asked.Load()
	for _, s := range u.estimateStatuses() {
		t.ejections += uint64(s.Ejections)
		if s.Ejected {
			t.ejected++
		}
	}
}

// estimateTotals sums up by the upstreams' label; upstreams that nobody ever estimated have none.
func (r *registry) estimateTotals() map[string]*estimateTotals {
	r.mu.RLock()
	defer r.mu.RUnlock()
	sums := map[string]*estimateTotals{}
	if r.retiredEstimates != (estimateTotals{}) {
		retired := r.retiredEstimates
		sums[dynamicLabel] = &retired
	}
	for address, u := range r.upstreams {
		if u.estimates.Load() == nil {
			continue
		}
		sumOf(sums, address, u).add(u)
	}
	return sums
}
