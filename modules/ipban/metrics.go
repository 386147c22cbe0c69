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
type figures struct{ active, storeUp, dryRun, strikes, evicted, remembered, waiting *prometheus.Desc }

func newFigures() *figures {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "ip_ban", name), help, []string{"store"}, nil)
	}
	return &figures{
		active:     desc("active", "Bans in force. Expired ones leave the figure within a minute."),
		storeUp:    desc("store_up", "Whether the store is being followed; at 0 the last list stays in force."),
		dryRun:     desc("dry_run_active", "Bans that would be in force, but for dry_run."),
		strikes:    desc("strikes_held", "Strikes that may yet become bans; max_strikes bounds them."),
		evicted:    desc("strikes_evicted_total", "Strikes that were dropped because there were max_strikes."),
		remembered: desc("clients_remembered", "Clients whose past bans make the next one longer; max_bans bounds them."),
		waiting:    desc("store_waiting", "Bans by rules that are in force here and wait for the store."),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{f.active, f.storeUp, f.dryRun, f.strikes, f.evicted, f.remembered, f.waiting} {
		out <- desc
	}
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
		tell := func(desc *prometheus.Desc, kind prometheus.ValueType, value int) {
			out <- prometheus.MustNewConstMetric(desc, kind, float64(value), l.store)
		}
		held, evicted := l.strikes.size()
		tell(f.active, prometheus.GaugeValue, l.table.count())
		tell(f.storeUp, prometheus.GaugeValue, map[bool]int{true: 1}[up])
		tell(f.dryRun, prometheus.GaugeValue, l.dry.table.count())
		tell(f.strikes, prometheus.GaugeValue, held)
		tell(f.evicted, prometheus.CounterValue, evicted)
		tell(f.remembered, prometheus.GaugeValue, l.history.size())
		tell(f.waiting, prometheus.GaugeValue, l.unrecorded())
		return true
	})
}
