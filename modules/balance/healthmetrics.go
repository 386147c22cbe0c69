// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// healthCollector returns the process's one collector of active checks' metrics. It reads the registry when it is scraped.
var healthCollector = sync.OnceValue(func() prometheus.Collector { return newHealthMetrics(registered) })

type healthMetrics struct {
	registry               *registry
	healthy, checks, flips *prometheus.Desc
}

func newHealthMetrics(r *registry) *healthMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "upstream", name), help, labels, nil)
	}
	return &healthMetrics{
		registry: r,
		healthy: desc("healthy", "Whether active checks find the upstream well (1) or down (0); for upstream=\"dynamic\", how many "+
			"of the checked upstreams are well.", "upstream"),
		checks: desc("health_checks_total", "Active checks by result; of dynamic upstreams, those that are in memory.", "upstream", "result"),
		flips:  desc("health_flips_total", "Changes of active checks' verdicts; as above.", "upstream"),
	}
}

// Describe implements prometheus.Collector.
func (m *healthMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.healthy
	ch <- m.checks
	ch <- m.flips
}

// healthTotals is what all checks of the upstreams of one label found out.
type healthTotals struct{ healthy, passed, failed, flips uint64 }

// Collect implements prometheus.Collector.
func (m *healthMetrics) Collect(ch chan<- prometheus.Metric) {
	for label, t := range m.registry.healthTotals() {
		ch <- prometheus.MustNewConstMetric(m.healthy, prometheus.GaugeValue, float64(t.healthy), label)
		ch <- prometheus.MustNewConstMetric(m.checks, prometheus.CounterValue, float64(t.passed), label, "passed")
		ch <- prometheus.MustNewConstMetric(m.checks, prometheus.CounterValue, float64(t.failed), label, "failed")
		ch <- prometheus.MustNewConstMetric(m.flips, prometheus.CounterValue, float64(t.flips), label)
	}
}

// healthTotals sums up by the upstreams' label; upstreams that nobody checks have none.
func (r *registry) healthTotals() map[string]*healthTotals {
	r.mu.RLock()
	defer r.mu.RUnlock()
	sums := map[string]*healthTotals{}
	for address, u := range r.upstreams {
		states := u.checks.used()
		if len(states) == 0 {
			continue
		}
		sumOf(sums, address, u).add(states)
	}
	return sums
}

// add adds an upstream's states. It is well if no check finds it down.
func (t *healthTotals) add(states []*checkState) {
	healthy := uint64(1)
	for _, s := range states {
		if s.down() {
			healthy = 0
		}
		s.mu.Lock()
		t.passed, t.failed, t.flips = t.passed+s.passed, t.failed+s.failed, t.flips+s.flips
		s.mu.Unlock()
	}
	t.healthy += healthy
}
