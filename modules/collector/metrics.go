// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// metrics makes the collectors once a process, so that they survive reloads.
var metrics = sync.OnceValue(func() []prometheus.Collector {
	return []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: meter.Namespace, Subsystem: "collector", Name: "gogc_percent",
		Help: "How much may be allocated before the next garbage collection, in percent of the live heap; 0 if not set here.",
	}, func() float64 { return processes.Read((*process).current) })}
})
