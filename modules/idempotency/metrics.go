// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// outcome is what became of a request.
type outcome int

// The outcomes, as metrics, placeholders and access logs name them.
const (
	passed       outcome = iota // without a key
	executed                    // sent, and answered
	released                    // not carried out; the key is free again
	doubted                     // sent, and it is unknown whether it took effect
	replayed                    // answered from the record
	conflicted                  // refused: another attempt is under way
	mismatched                  // refused: the key belongs to another request
	unresolved                  // refused: the outcome of an earlier attempt is unknown
	unavailable                 // refused: the answer was not kept, or cannot be read
	missing                     // refused: a key is required
	malformed                   // refused: the key is
	unidentified                // refused: anonymous reject
	tooLarge                    // refused: the body is
	incomplete                  // refused: the body broke off
	storeFailed                 // refused: the store is away
	unprotected                 // passed though the store is away
	abandoned                   // the client left while it waited
	outcomes
)

// String is the outcome's name.
func (o outcome) String() string {
	return [outcomes]string{
		"passed", "executed", "released", "unknown", "replayed", "in_flight", "mismatch", "unresolved", "unavailable",
		"missing", "malformed", "unidentified", "too_large", "incomplete", "store_failed", "unprotected", "abandoned",
	}[o]
}

// collectors are the metrics of this package, made once a process.
type collectors struct {
	requests *prometheus.CounterVec
	endings  *prometheus.CounterVec
	steps    *prometheus.HistogramVec
	vetoes   prometheus.Counter
	fenced   prometheus.Counter
	dropped  prometheus.Counter
	figures  *figures
}

var metrics = sync.OnceValue(func() collectors {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: meter.Namespace, Subsystem: "idempotency", Name: name, Help: help}
	}
	buckets := []float64{.00005, .0001, .0002, .0005, .001, .002, .005, .01, .05, .25, 1}
	return collectors{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total",
			"Requests of the protected methods.")), []string{"mode", "outcome"}),
		endings: prometheus.NewCounterVec(prometheus.CounterOpts(opts("endings_total",
			"Operations that were carried out here, by why they ended as they did.")), []string{"reason"}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: meter.Namespace, Subsystem: "idempotency", Name: "store_seconds",
			Help: "Time that the store took for a step.", Buckets: buckets,
		}, []string{"step"}),
		vetoes: prometheus.NewCounter(prometheus.CounterOpts(opts("second_dispatches_prevented_total",
			"Requests that a transport or reverse_proxy was about to send a second time."))),
		fenced: prometheus.NewCounter(prometheus.CounterOpts(opts("fenced_total",
			"Steps that the store refused because the record belonged to another attempt or was resolved."))),
		dropped: prometheus.NewCounter(prometheus.CounterOpts(opts("unsettled_dropped_total",
			"Steps that were given up because too many waited for a store that was away."))),
		figures: newFigures(),
	}
})

func (c collectors) all() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.endings, c.steps, c.vetoes, c.fenced, c.dropped, c.figures}
}

// figures tell the state of the engines when they are asked.
type figures [gauges]*prometheus.Desc

// The gauges.
const (
	gaugeWaiting = iota
	gaugeWaitingBytes
	gaugeExecuting
	gaugeUnsettled
	gaugeUnsettledBytes
	gauges
)

func newFigures() *figures {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "idempotency", name), help, []string{"store"}, nil)
	}
	return &figures{
		gaugeWaiting:        desc("waiting", "Requests that wait for the answer of another attempt."),
		gaugeWaitingBytes:   desc("waiting_bytes", "Bytes of the bodies of these requests."),
		gaugeExecuting:      desc("executing", "Operations that are being carried out."),
		gaugeUnsettled:      desc("unsettled", "Steps that wait for a store that is away."),
		gaugeUnsettledBytes: desc("unsettled_bytes", "Bytes of the answers in these steps."),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range f {
		out <- desc
	}
}

// Collect implements prometheus.Collector. Engines of one kind of store are summed.
func (f *figures) Collect(out chan<- prometheus.Metric) {
	byStore := map[string]*[gauges]float64{}
	engines.Range(func(_, value any) bool {
		e, ok := value.(*engine)
		if !ok {
			return true
		}
		sums := byStore[e.name]
		if sums == nil {
			sums = new([gauges]float64)
			byStore[e.name] = sums
		}
		steps, bytes := e.unsettled.pending()
		sums[gaugeWaiting] += float64(e.waiting.Load())
		sums[gaugeWaitingBytes] += float64(e.waitingBytes.Load())
		sums[gaugeExecuting] += float64(e.executing.Load())
		sums[gaugeUnsettled] += float64(steps)
		sums[gaugeUnsettledBytes] += float64(bytes)
		return true
	})
	for store, sums := range byStore {
		for i, desc := range f {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, sums[i], store)
		}
	}
}
