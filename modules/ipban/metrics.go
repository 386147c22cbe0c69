// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// collectors are the metrics of this package, made once a process.
type collectors struct {
	requests   *prometheus.CounterVec
	strikes    *prometheus.CounterVec
	overLimit  prometheus.Counter
	unrecorded prometheus.Counter
	figures    *figures
}

var metrics = sync.OnceValue(func() collectors {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: meter.Namespace, Subsystem: "ip_ban", Name: name, Help: help}
	}
	return collectors{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total",
			"Requests that were looked up in the list of bans.")), []string{"module", "outcome"}),
		strikes: prometheus.NewCounterVec(prometheus.CounterOpts(opts("strikes_total",
			"What clients did wrong under a rule that bans, and what became of it.")), []string{"policy", "outcome"}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts(opts("unrecorded_total",
			"Bans by rules that the store is not told of, because too many wait for it already."))),
		overLimit: prometheus.NewCounter(prometheus.CounterOpts(opts("over_limit_total",
			"Bans that were refused, or not taken from the store, because there were max_bans already."))),
		figures: newFigures(),
	}
})

func (c collectors) all() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.strikes, c.overLimit, c.unrecorded, c.figures}
}

func overLimit() prometheus.Counter { return metrics().overLimit }

func unrecorded() prometheus.Counter { return metrics().unrecorded }

// strikeCounters returns a counter for each outcome of a policy's strikes.
func strikeCounters(policy string) (bound [strikeOutcomes]prometheus.Counter) {
	for o := range strikeOutcomes {
		bound[o] = metrics().strikes.WithLabelValues(policy, o.String())
	}
	return bound
}

// outcomeCounters returns a counter for each outcome, so that counting looks up no labels.
func outcomeCounters(module string) (bound [outcomes]prometheus.Counter) {
	for o := range outcomes {
		bound[o] = metrics().requests.WithLabelValues(module, o.String())
	}
	return bound
}

// figures tell the state of the lists when they are asked, so that a list that is gone leaves no series, and one that goes
// takes none of its successor's along.
type figures struct{ active, storeUp *prometheus.Desc }

func newFigures() *figures {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "ip_ban", name), help, []string{"store"}, nil)
	}
	return &figures{
		active:  desc("active", "Bans in force. Expired ones leave the figure within a minute."),
		storeUp: desc("store_up", "Whether the store is being followed; at 0 the last list stays in force."),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(out chan<- *prometheus.Desc) {
	out <- f.active
	out <- f.storeUp
}

// Collect implements prometheus.Collector. Of two lists in one kind of store, which are there for the moment of a reload
// that changes the store's options, it tells of one.
func (f *figures) Collect(out chan<- prometheus.Metric) {
	told := map[string]bool{}
	lists.Range(func(_, value any) bool {
		l, ok := value.(*list)
		if !ok || told[l.store] {
			return true
		}
		attached, up := l.following()
		if !attached {
			return true
		}
		told[l.store] = true
		out <- prometheus.MustNewConstMetric(f.active, prometheus.GaugeValue, float64(l.table.count()), l.store)
		out <- prometheus.MustNewConstMetric(f.storeUp, prometheus.GaugeValue, map[bool]float64{true: 1}[up], l.store)
		return true
	})
}
