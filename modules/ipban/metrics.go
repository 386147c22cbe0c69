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
	requests  *prometheus.CounterVec
	active    *prometheus.GaugeVec
	storeUp   *prometheus.GaugeVec
	overLimit prometheus.Counter
}

var metrics = sync.OnceValue(func() collectors {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: meter.Namespace, Subsystem: "ip_ban", Name: name, Help: help}
	}
	return collectors{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total",
			"Requests that were looked up in the list of bans.")), []string{"module", "outcome"}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("active",
			"Bans in force. Expired ones leave the figure within a minute.")), []string{"store"}),
		storeUp: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("store_up",
			"Whether the store is being followed; at 0 the last list stays in force.")), []string{"store"}),
		overLimit: prometheus.NewCounter(prometheus.CounterOpts(opts("over_limit_total",
			"Bans that were refused, or not taken from the store, because there were max_bans already."))),
	}
})

func (c collectors) all() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.active, c.storeUp, c.overLimit}
}

func overLimit() prometheus.Counter { return metrics().overLimit }

// outcomeCounters returns a counter for each outcome, so that counting looks up no labels.
func outcomeCounters(module string) (bound [outcomes]prometheus.Counter) {
	for o := range outcomes {
		bound[o] = metrics().requests.WithLabelValues(module, o.String())
	}
	return bound
}

// gauges are the metrics of one list.
type gauges struct{ store string }

func (g gauges) setActive(n int) { metrics().active.WithLabelValues(g.store).Set(float64(n)) }

func (g gauges) setUp(up bool) {
	value := 0.0
	if up {
		value = 1
	}
	metrics().storeUp.WithLabelValues(g.store).Set(value)
}

func (g gauges) remove() {
	metrics().active.DeleteLabelValues(g.store)
	metrics().storeUp.DeleteLabelValues(g.store)
}
