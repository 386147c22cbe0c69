// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package collector sets how eagerly Go's garbage collector runs: the global option `collector`.
//
// A proxy's live heap is small, and Go's default collects whenever as much again was allocated: on a busy proxy many times
// a second, for a heap of a few megabytes. Memory that the machine has to spare buys that work off. So instead of a
// percentage of whatever is live, the proxy gets a fixed headroom above it.
package collector

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// Bounds of what a configuration may ask for.
const (
	leastPercent     = 10
	mostPercent      = 10_000
	leastHeadroom    = 1 << 20
	leastMemoryLimit = 32 << 20
)

func init() {
	caddy.RegisterModule(App{})
}

// App sets the garbage collector of the whole process while the config runs. When no running config has one, the settings
// from before are back. The binary `gatehouse` uses the default headroom without any config, unless the environment
// variable GOGC is set; in other builds the option must be there, an empty one for the default.
type App struct {
	// Headroom is how many bytes may be allocated above the live heap before the garbage collector runs. It is never less
	// than the live heap itself, as by Go's own default. Default (0): a 64th of the machine's memory or of the container's
	// limit, between 32 MiB and 128 MiB.
	Headroom int64 `json:"headroom,omitempty"`
	// Percent is Go's GOGC: how much may be allocated above the live heap, in percent of it, from 10 to 10000. It takes the
	// place of the headroom; 100 is Go's own default. Default: 0, which means that the headroom counts.
	Percent int `json:"percent,omitempty"`
	// MemoryLimit is Go's GOMEMLIMIT in bytes: the collector works harder rather than let the process grow beyond it. It
	// is a soft limit. Default: 0, which leaves it at what Caddy sets, 90 % of the machine's memory or of the container's limit.
	MemoryLimit int64 `json:"memory_limit,omitempty"`

	process *process
	lease   lease.Lease
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "collector", New: func() caddy.Module { return new(App) }}
}

// Provision checks the settings. They take effect in Start.
func (a *App) Provision(ctx caddy.Context) error {
	switch {
	case a.Percent != 0 && a.Headroom != 0:
		return errors.New("collector: percent and headroom exclude each other")
	case a.Percent != 0 && (a.Percent < leastPercent || a.Percent > mostPercent):
		return fmt.Errorf("collector: percent: expected %d to %d, found %d", leastPercent, mostPercent, a.Percent)
	case a.Headroom != 0 && a.Headroom < leastHeadroom:
		return fmt.Errorf("collector: headroom: expected at least 1MiB, found %d bytes", a.Headroom)
	case a.MemoryLimit != 0 && a.MemoryLimit < leastMemoryLimit:
		return fmt.Errorf("collector: memory_limit: expected at least 32MiB, found %d bytes", a.MemoryLimit)
	}
	var err error
	if a.process, a.lease, err = processes.Take(); err != nil {
		return err
	}
	return meter.Register(ctx.GetMetricsRegistry(), metrics()...)
}

// Start makes the settings the process's.
func (a *App) Start() error {
	a.process.use(a, a.settings())
	return nil
}

// Stop makes way for the config that follows, or the one before if this one was rejected.
func (a *App) Stop() error {
	a.process.drop(a)
	return nil
}

// Cleanup gives back what Provision took.
func (a *App) Cleanup() error { return a.lease.Release() }

func (a *App) settings() settings {
	s := settings{headroom: a.Headroom, percent: a.Percent, limit: a.MemoryLimit}
	if s.headroom == 0 {
		s.headroom = defaultHeadroom()
	}
	return s
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
