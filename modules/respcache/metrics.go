// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// outcomeKind is what became of a request, for metrics, logs and placeholders.
type outcomeKind uint8

const (
	outcomeHit        outcomeKind = iota // answered from the store
	outcomeStale                         // likewise, with a stale answer
	outcomeStaleError                    // likewise, because the upstream failed
	outcomeValidated                     // likewise, after the upstream confirmed it
	outcomeCollapsed                     // answered from the fill of another request
	outcomeMiss                          // answered by the upstream, and stored
	outcomePass                          // answered by the upstream, and not stored
	outcomeBypass                        // none of the cache's business
	outcomeUnsafe                        // another method than GET and HEAD
	outcomeError                         // the upstream failed
	outcomes
)

// String is the outcome's name.
func (o outcomeKind) String() string {
	return [...]string{"hit", "stale", "stale_error", "validated", "collapsed", "miss", "pass", "bypass", "unsafe", "error"}[o]
}

// collectors are the metrics of this package, made once a process.
type collectors struct {
	requests         *prometheus.CounterVec
	drops            *prometheus.CounterVec
	purges           *prometheus.CounterVec
	refreshes        *prometheus.CounterVec
	refreshesRefused prometheus.Counter
	feedErrors       prometheus.Counter
	feedUp           prometheus.Gauge
	figures          *figures
}

var counters = sync.OnceValue(func() collectors {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: meter.Namespace, Subsystem: "response_cache", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	return collectors{
		requests:  counter("requests_total", "Requests by what became of them.", "site", "outcome"),
		drops:     counter("drops_total", "Answers that came in to be stored and were not, by reason.", "reason"),
		purges:    counter("purges_total", "Purges that were carried out, by kind, of this proxy and of others.", "kind"),
		refreshes: counter("refreshes_total", "Refreshes in the background, by result.", "result"),
		refreshesRefused: prometheus.NewCounter(prometheus.CounterOpts(opts("refreshes_refused_total",
			"Refreshes that were not begun because too many ran."))),
		feedErrors: prometheus.NewCounter(prometheus.CounterOpts(opts("purge_feed_errors_total",
			"Purges that other proxies did not hear of."))),
		feedUp: prometheus.NewGauge(prometheus.GaugeOpts(opts("purge_feed_up",
			"Whether the purge feed is being followed."))),
		figures: newFigures(),
	}
})

func (c collectors) all() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.drops, c.purges, c.refreshes, c.refreshesRefused, c.feedErrors, c.feedUp, c.figures}
}

// outcomeCounters returns a counter for each outcome, so that counting looks up no labels.
func outcomeCounters(site string) (bound [outcomes]prometheus.Counter) {
	for o := range outcomes {
		bound[o] = counters().requests.WithLabelValues(site, o.String())
	}
	return bound
}

func (h *Handler) countDrop(reason string) { counters().drops.WithLabelValues(reason).Inc() }

// figures tell the state of the caches when they are asked.
type figures struct {
	budget, held, items, inFlight, inUse, fills, passes, rules *prometheus.Desc
	evicted, rejected, dropped                                 *prometheus.Desc
}

func newFigures() *figures {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "response_cache", name), help, nil, nil)
	}
	return &figures{
		budget:   desc("budget_bytes", "Bytes that stored answers may take."),
		held:     desc("held_bytes", "Bytes that stored answers take."),
		items:    desc("items", "URIs that answers are stored of."),
		inFlight: desc("in_flight_bytes", "Bytes of bodies that are coming in."),
		inUse:    desc("body_bytes", "Bytes of all bodies in memory: stored, coming in, or evicted and still being sent."),
		fills:    desc("fills", "Requests to the upstream that run."),
		passes:   desc("passes", "URIs whose answers could not be shared lately, or whose ranges were answered with the whole."),
		rules:    desc("purge_rules", "Purges of URLs and prefixes that are remembered."),
		evicted:  desc("evictions_total", "Answers that had to make room."),
		rejected: desc("rejections_total", "Answers that were not kept because others are asked for more often."),
		dropped:  desc("store_drops_total", "Answers that the store could not take."),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		f.budget, f.held, f.items, f.inFlight, f.inUse, f.fills, f.passes, f.rules, f.evicted, f.rejected, f.dropped,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector. Of several stores it tells the sums.
func (f *figures) Collect(out chan<- prometheus.Metric) {
	var sum Stats
	caches.Range(func(_, value any) bool {
		if c, ok := value.(*cache); ok {
			sum.add(c.stats())
		}
		return true
	})
	gauge := func(desc *prometheus.Desc, v int64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v))
	}
	gauge(f.budget, sum.Budget)
	gauge(f.held, sum.Held)
	gauge(f.items, sum.Items)
	gauge(f.inFlight, sum.InFlight)
	gauge(f.inUse, sum.Bodies)
	gauge(f.fills, sum.Fills)
	gauge(f.passes, sum.Passes)
	gauge(f.rules, sum.Rules)
	for desc, v := range map[*prometheus.Desc]uint64{f.evicted: sum.Evicted, f.rejected: sum.Rejected, f.dropped: sum.Dropped} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v))
	}
}

// Stats is the state of a cache.
type Stats struct {
	// Budget is the bytes that stored answers may take.
	Budget int64 `json:"budget"`
	// Held is the bytes that they take.
	Held int64 `json:"held"`
	// Items is how many URIs answers are stored of.
	Items int64 `json:"items"`
	// InFlight is the bytes of bodies that are coming in.
	InFlight int64 `json:"in_flight"`
	// Bodies is the bytes of all bodies in memory: stored, coming in, or evicted and still being sent.
	Bodies int64 `json:"bodies"`
	// Fills is how many requests to the upstream run.
	Fills int64 `json:"fills"`
	// Refreshing is how many refreshes run in the background.
	Refreshing int64 `json:"refreshing"`
	// Passes is how many URIs could not be shared lately.
	Passes int64 `json:"passes"`
	// Rules is how many purges of URLs and prefixes are remembered.
	Rules int64 `json:"rules"`
	// Evicted counts answers that had to make room.
	Evicted uint64 `json:"evicted"`
	// Rejected counts answers that were not kept because others are asked for more often.
	Rejected uint64 `json:"rejected"`
	// Dropped counts answers that the store could not take.
	Dropped uint64 `json:"dropped"`
}

func (c *cache) stats() Stats {
	f := c.store.Figures()
	return Stats{
		Budget: f.Budget, Held: f.Held, Items: f.Items, Evicted: f.Evicted, Rejected: f.Rejected, Dropped: f.Dropped,
		InFlight: c.memory.inFlight.Load(), Bodies: c.memory.arena.inUse.Load(),
		Fills: int64(c.fills.count()), Refreshing: c.refreshing.Load(), Passes: int64(c.passes.count() + c.unranged.count()),
		Rules: c.generations.rules.Load(),
	}
}

func (s *Stats) add(other Stats) {
	s.Budget += other.Budget
	s.Held += other.Held
	s.Items += other.Items
	s.InFlight += other.InFlight
	s.Bodies += other.Bodies
	s.Fills += other.Fills
	s.Refreshing += other.Refreshing
	s.Passes += other.Passes
	s.Rules += other.Rules
	s.Evicted += other.Evicted
	s.Rejected += other.Rejected
	s.Dropped += other.Dropped
}
