// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// The collectors are the process's, so that counts survive reloads. Their only label from outside is the client's name, from
// the configuration.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: meter.Namespace, Subsystem: "redis", Name: "requests_total",
		Help: "Requests to Redis by outcome: ok, error (an error reply), timeout, unavailable (not sent, or cut off by an outage), " +
			"busy (queue full) or canceled.",
	}, []string{"client", "outcome"})
	opensTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: meter.Namespace, Subsystem: "redis", Name: "breaker_opens_total",
		Help: "Times the circuit breaker opened, that is, outages.",
	}, []string{"client"})
	waitSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: meter.Namespace, Subsystem: "redis", Name: "wait_seconds",
		Help:    "Time that requests waited for Redis, whatever the outcome; those that were refused at once are left out.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5},
	}, []string{"client"})
)

// counts are one client's counters, bound once.
type counts struct {
	ok, failed, timeout, unavailable, busy, canceled, opens prometheus.Counter
	wait                                                    prometheus.Observer
}

func newCounts(client string) *counts {
	return &counts{
		ok:          requestsTotal.WithLabelValues(client, "ok"),
		failed:      requestsTotal.WithLabelValues(client, "error"),
		timeout:     requestsTotal.WithLabelValues(client, "timeout"),
		unavailable: requestsTotal.WithLabelValues(client, "unavailable"),
		busy:        requestsTotal.WithLabelValues(client, "busy"),
		canceled:    requestsTotal.WithLabelValues(client, "canceled"),
		opens:       opensTotal.WithLabelValues(client),
		wait:        waitSeconds.WithLabelValues(client),
	}
}

func registerMetrics(reg *prometheus.Registry) error {
	return meter.Register(reg, requestsTotal, opensTotal, waitSeconds, live)
}

// live tells the state of the running config's clients when it is asked, so that a client that is gone leaves no series.
var live = &liveCollector{
	up: prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "redis", "up"),
		"1 if Redis answers, 0 if the breaker is open. Absent before the first command.", []string{"client"}, nil),
	queued: prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "redis", "queued_commands"),
		"Commands that wait to be sent.", []string{"client"}, nil),
}

type liveCollector struct{ up, queued *prometheus.Desc }

// Describe implements prometheus.Collector.
func (l *liveCollector) Describe(out chan<- *prometheus.Desc) {
	out <- l.up
	out <- l.queued
}

// Collect implements prometheus.Collector.
func (l *liveCollector) Collect(out chan<- prometheus.Metric) {
	for name, c := range running() {
		s := c.Status()
		switch s.State {
		case StateUp:
			out <- prometheus.MustNewConstMetric(l.up, prometheus.GaugeValue, 1, name)
		case StateDown:
			out <- prometheus.MustNewConstMetric(l.up, prometheus.GaugeValue, 0, name)
		default:
			continue
		}
		out <- prometheus.MustNewConstMetric(l.queued, prometheus.GaugeValue, float64(s.Queued), name)
	}
}
