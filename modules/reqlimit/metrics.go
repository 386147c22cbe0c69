// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// collectors are the metrics of this package, made once a process. Each policy has at most 10 series, whatever its keys.
type collectors struct {
	requests *prometheus.CounterVec
	lost     *prometheus.CounterVec
	figures  *figures
}

var metrics = sync.OnceValue(func() collectors {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: meter.Namespace, Subsystem: "request_limit", Name: name, Help: help}
	}
	return collectors{
		requests: prometheus.NewCounterVec(opts("requests_total",
			"Requests that a policy decided on. The mode is store, or what on_store_error says while that is away."),
			[]string{"policy", "outcome", "mode"}),
		lost: prometheus.NewCounterVec(opts("not_given_back_total",
			"Requests whose cost should have been given back, and was not, as the store was away."), []string{"policy"}),
		figures: newFigures(),
	}
})

func (c collectors) all() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.lost, c.figures}
}

// forget removes the series of a policy.
func (c collectors) forget(policy string) {
	labels := prometheus.Labels{"policy": policy}
	c.requests.DeletePartialMatch(labels)
	c.lost.DeletePartialMatch(labels)
}

// bind binds a counter for each outcome that the policy can have in each mode, so that counting looks up no labels and
// nothing has a series that cannot be.
func (h *Handler) bind() {
	over := refused
	if h.DryRun {
		over = dryRun
	}
	bind := func(m mode, list ...outcome) {
		for _, o := range list {
			h.counts[o][m] = metrics().requests.WithLabelValues(h.Name, o.String(), m.String())
		}
	}
	bind(modeStore, passed, over)
	if h.allowed != nil {
		bind(modeStore, allowListed)
	}
	if h.Limits != nil {
		bind(modeStore, unlimitedBy)
	}
	switch h.counting.onError {
	case modeLocal:
		if h.counting.local != nil {
			bind(modeLocal, passed, over)
		}
		bind(modeOpen, passed)
	case modeOpen:
		bind(modeOpen, passed)
	case modeClosed:
		bind(modeClosed, over)
	}
}

// figures tell the state of the policies when they are asked.
type figures struct{ evicted, proxies *prometheus.Desc }

func newFigures() *figures {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "request_limit", name), help, []string{"policy"}, nil)
	}
	return &figures{
		evicted: desc("evicted_total", "Keys that were forgotten while they counted, because the table in memory was full."),
		proxies: desc("proxies", "Proxies that were last seen to share the policy's counts."),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(out chan<- *prometheus.Desc) {
	out <- f.evicted
	out <- f.proxies
}

// Collect implements prometheus.Collector.
func (f *figures) Collect(out chan<- prometheus.Metric) {
	for _, h := range running().all() {
		if bounded, ok := h.counting.store.(Bounded); ok {
			out <- prometheus.MustNewConstMetric(f.evicted, prometheus.CounterValue, float64(bounded.Usage().Evicted), h.Name)
		}
		if h.counting.shared != nil {
			out <- prometheus.MustNewConstMetric(f.proxies, prometheus.GaugeValue, float64(h.counting.shared.Proxies()), h.Name)
		}
	}
}
