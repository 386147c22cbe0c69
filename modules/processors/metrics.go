// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package processors

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// metrics makes the collectors once a process, so that they survive reloads.
var metrics = sync.OnceValue(func() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: meter.Namespace, Subsystem: "processors", Name: "in_use",
			Help: "Cores that Go's scheduler uses at once at most; 0 if not set here.",
		}, func() float64 { return processes.Read((*process).inUse) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: meter.Namespace, Subsystem: "processors", Name: "changes_total",
			Help: "How often the number of cores was changed.",
		}, func() float64 { return processes.Read((*process).changed) }),
	}
})
