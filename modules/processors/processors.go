// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package processors sets how many cores Go's scheduler uses at once: the global option `processors`.
//
// A proxy is idle most of the time, and a request wakes several goroutines one after the other. With a core free for each
// of them, Go wakes a sleeping thread for nearly every one, and the kernel a sleeping core: at a few hundred requests a second
// that costs more than half as much as the requests themselves. On one core the same goroutines run one after the other, without
// a system call between them. So a proxy with little to do uses few cores, and all of them within moments of need.
package processors

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// mostLeast is more cores than any machine has.
const mostLeast = 4096

func init() {
	caddy.RegisterModule(App{})
}

// App lets the process use as many cores as its work needs, while the config runs. When no running config has one, what was
// in force before is back. The binary `gatehouse` does so without any config, unless the environment variable
// GOMAXPROCS is set; in other builds the option must be there, an empty one for the defaults. It never uses more cores than
// Go would without it: the machine's, or the container's limit, or GOMAXPROCS of the environment, as they are when the process
// starts: Go follows a limit that changes later only where nobody sets the number.
type App struct {
	// Least is how many cores are used however little there is to do, from 1 to 4096; more than there are means all of
	// them. Default (0): a quarter of them, at least 1.
	Least int `json:"least,omitempty"`
	// All always uses all cores, as Go does by itself. It excludes Least. Default: false.
	All bool `json:"all,omitempty"`

	process *process
	lease   lease.Lease
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "processors", New: func() caddy.Module { return new(App) }}
}

// Provision checks the settings. They take effect in Start.
func (a *App) Provision(ctx caddy.Context) error {
	switch {
	case a.All && a.Least != 0:
		return errors.New("processors: all and least exclude each other")
	case a.Least < 0 || a.Least > mostLeast:
		return fmt.Errorf("processors: least: expected 1 to %d, found %d", mostLeast, a.Least)
	}
	var err error
	if a.process, a.lease, err = processes.Take(); err != nil {
		return err
	}
	return meter.Register(ctx.GetMetricsRegistry(), metrics()...)
}

// Start makes the settings the process's.
func (a *App) Start() error {
	a.process.use(a, settings{least: a.Least, all: a.All})
	return nil
}

// Stop makes way for the config that follows, or the one before if this one was rejected.
func (a *App) Stop() error {
	a.process.drop(a)
	return nil
}

// Cleanup gives back what Provision took.
func (a *App) Cleanup() error { return a.lease.Release() }

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
