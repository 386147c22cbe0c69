// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

const (
	defaultLimitMemory = 64 << 20
	minLimitMemory     = 64 << 10
)

// limitCounters holds the counts of each policy of this process.
var limitCounters = caddy.NewUsagePool()

func init() { caddy.RegisterModule(LimitStore{}) }

// LimitStore counts requests in this process. Counts outlive reloads, not restarts, and share nothing with other processes.
//
// Each policy has a table of a fixed size. When a key comes for which there is no room, one that no longer counts goes; else
// the one that has used least of its limit. A key at its limit goes only if all of the eight that it shares a place with are,
// so a flood of made-up keys frees nobody.
type LimitStore struct {
	// MaxMemory is the size of each policy's table in bytes. It is taken from the system as it is used. A key with a
	// sliding window takes 84 bytes, one with an exact window of limit 1,000 about 8 KB; the admin endpoint tells how many
	// fit. With concurrency, memory is bounded by the requests in flight instead. Default (and zero): 64 MiB.
	MaxMemory int64 `json:"max_memory,omitempty"`

	leases []lease.Lease
}

// CaddyModule returns the Caddy module information.
func (LimitStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: reqlimit.Namespace + ".memory", New: func() caddy.Module { return new(LimitStore) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	store memory {
//		max_memory <size>
//	}
func (s *LimitStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"max_memory": func() error { return directive.Arg(d, &s.MaxMemory, directive.Size) },
	})
}

// Provision implements caddy.Provisioner.
func (s *LimitStore) Provision(caddy.Context) error {
	if s.MaxMemory == 0 {
		s.MaxMemory = defaultLimitMemory
	}
	if s.MaxMemory < minLimitMemory {
		return fmt.Errorf("store memory: max_memory: expected at least 64KiB, found %d bytes", s.MaxMemory)
	}
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (s *LimitStore) Cleanup() error {
	var errs []error
	for i := range s.leases {
		errs = append(errs, s.leases[i].Release())
	}
	return errors.Join(errs...)
}

// counters is what the pool holds.
type counters interface {
	reqlimit.Counters
	caddy.Destructor
}

// Open implements reqlimit.Store.
func (s *LimitStore) Open(spec reqlimit.Spec) (reqlimit.Counters, error) {
	if spec.Algorithm != reqlimit.Exact {
		spec.Limit = 0 // no part of the table: a reload that changes a limit keeps the counts
	}
	build := func() (counters, error) {
		if spec.Algorithm == reqlimit.Concurrency {
			return newInflight(), nil
		}
		return newTable(spec, s.MaxMemory)
	}
	c, l, err := lease.Take(limitCounters, fmt.Sprintf("%+v %d", spec, s.MaxMemory), build)
	if err != nil {
		return nil, fmt.Errorf("store memory: %w", err)
	}
	s.leases = append(s.leases, l)
	return c, nil
}

// arithmetic returns a spec's algorithm, and how many words one window takes.
func arithmetic(spec reqlimit.Spec) (window.Algorithm, int, error) {
	switch spec.Algorithm {
	case reqlimit.Sliding:
		a := window.Sliding{Buckets: spec.Buckets}
		return a, a.Words(), nil
	case reqlimit.Exact:
		return window.Exact{}, window.Exact{}.Words(spec.Limit), nil
	case reqlimit.Smooth:
		return window.Smooth{}, window.Smooth{}.Words(), nil
	case reqlimit.GCRA:
		return window.GCRA{}, window.GCRA{}.Words(), nil
	}
	return nil, 0, fmt.Errorf("the algorithm %q is not known here", spec.Algorithm)
}

// Interface guards
var (
	_ reqlimit.Store        = (*LimitStore)(nil)
	_ caddy.Provisioner     = (*LimitStore)(nil)
	_ caddy.CleanerUpper    = (*LimitStore)(nil)
	_ caddyfile.Unmarshaler = (*LimitStore)(nil)
)
