// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package meter registers metrics so that they survive config reloads.
//
// Caddy makes a new Prometheus registry for every config and serves the newest one. Collectors that are built anew in
// each Provision would restart at zero on every reload; collectors on Prometheus' default registry never show at all.
// So a module builds its collectors once a process (sync.OnceValue) and registers the same ones in each config's registry.
// Label values come from configuration, never from a request.
package meter

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Namespace prefixes the name of every metric of Gatehouse.
const Namespace = "gatehouse"

// Register adds the collectors to the config's registry (ctx.GetMetricsRegistry()). Registering the same collector again,
// as the second handler of one config does, succeeds; another collector of the same name is an error, because its
// counts would silently be lost.
func Register(reg *prometheus.Registry, collectors ...prometheus.Collector) error {
	for _, c := range collectors {
		err := reg.Register(c)
		var already prometheus.AlreadyRegisteredError
		if errors.As(err, &already) && already.ExistingCollector == c {
			continue
		}
		if err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
