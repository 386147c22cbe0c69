// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

const subsystem = "logship"

// collectors are the metrics of this package, made once a process.
type collectors struct {
	batchSeconds *prometheus.HistogramVec
	figures      *figures
}

var metrics = sync.OnceValue(func() collectors {
	return collectors{
		batchSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: meter.Namespace, Subsystem: subsystem, Name: "batch_seconds",
			Help:    "How long sinks took for a batch, taken or not.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30},
		}, []string{"spool", "sink"}),
		figures: newFigures(),
	}
})

func (c collectors) all() []prometheus.Collector {
	return []prometheus.Collector{c.batchSeconds, c.figures}
}

// figures tell the state of the spools when they are asked: the counts are kept on the disk, so they go on over a restart.
type figures struct {
	spoolBytes, spoolOpen, held, heldDropped                  *prometheus.Desc
	accepted, delivered, dropped, deadLettered                *prometheus.Desc
	pendingLines, pendingBytes, oldestAge, sinkUp, dropReason *prometheus.Desc
}

func newFigures() *figures {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, subsystem, name), help, append([]string{"spool"}, labels...), nil)
	}
	return &figures{
		spoolBytes:   desc("spool_bytes", "What the spool's files take on the disk."),
		spoolOpen:    desc("spool_open", "Whether lines can be stored; at 0 they wait in memory or are dropped."),
		held:         desc("held_lines", "Lines that wait in memory, as the spool cannot be opened."),
		heldDropped:  desc("held_dropped_lines", "Lines that were dropped as the spool could not be opened; they are in dropped_total once it is."),
		accepted:     desc("accepted_total", "Lines that were logged: delivered, dropped, dead-lettered or pending.", "sink"),
		delivered:    desc("delivered_total", "Lines that the sink has taken.", "sink"),
		dropped:      desc("dropped_total", "Lines that are lost.", "sink"),
		dropReason:   desc("drops_total", "Lines that were dropped since this process opened the spool.", "sink", "reason"),
		deadLettered: desc("dead_lettered_lines", "Lines that the sink refused, and that wait for a replay.", "sink"),
		pendingLines: desc("pending_lines", "Lines that wait on the disk.", "sink"),
		pendingBytes: desc("pending_bytes", "What lines that wait take on the disk.", "sink"),
		oldestAge:    desc("oldest_age_seconds", "How long the oldest line has waited.", "sink"),
		sinkUp:       desc("sink_up", "Whether the last batch was taken; 1 before the first.", "sink"),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		f.spoolBytes, f.spoolOpen, f.held, f.heldDropped, f.accepted, f.delivered, f.dropped, f.dropReason,
		f.deadLettered, f.pendingLines, f.pendingBytes, f.oldestAge, f.sinkUp,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (f *figures) Collect(out chan<- prometheus.Metric) {
	for _, c := range running() {
		if st, ok := c.status(); ok {
			f.collect(out, &st)
		}
	}
}

func (f *figures) collect(out chan<- prometheus.Metric, st *Status) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{st.Path}, labels...)...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{st.Path}, labels...)...)
	}
	gauge(f.spoolBytes, float64(st.SizeBytes))
	gauge(f.spoolOpen, truth(st.State == stateOpen || st.State == stateOpening))
	gauge(f.held, float64(st.HeldLines))
	gauge(f.heldDropped, float64(st.HeldDropped))
	for _, s := range st.Sinks {
		counter(f.accepted, s.Accepted, s.Name)
		counter(f.delivered, s.Delivered, s.Name)
		counter(f.dropped, s.Dropped, s.Name)
		s.Drops.each(func(reason string, n uint64) { counter(f.dropReason, n, s.Name, reason) })
		gauge(f.deadLettered, float64(s.DeadLettered), s.Name)
		gauge(f.pendingLines, float64(s.Pending), s.Name)
		gauge(f.pendingBytes, float64(s.PendingBytes), s.Name)
		gauge(f.oldestAge, s.OldestAge, s.Name)
		gauge(f.sinkUp, truth(s.State != sinkDown), s.Name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
