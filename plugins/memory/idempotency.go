// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

const (
	defaultMaxRecords = 100_000
	defaultMaxSize    = 256 << 20
)

// recordTables holds the one table of this process.
var recordTables = caddy.NewUsagePool()

func init() { caddy.RegisterModule(IdempotencyStore{}) }

// IdempotencyStore keeps idempotency records in this process. They outlive reloads, not restarts: after one, a retry is
// carried out again. It is for a single proxy; several need a store that they share.
//
// When it is full it takes no further operation, as forgetting one would allow its repetition.
type IdempotencyStore struct {
	// MaxRecords is how many records are kept at once. Default (and zero): 100,000.
	MaxRecords int `json:"max_records,omitempty"`
	// MaxSize is how many bytes records and their answers may take. Default (and zero): 256 MiB.
	MaxSize int64 `json:"max_size,omitempty"`

	table *recordTable
	lease lease.Lease
}

// CaddyModule returns the Caddy module information.
func (IdempotencyStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: idempotency.Namespace + ".memory", New: func() caddy.Module { return new(IdempotencyStore) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	store memory {
//		max_records <n>
//		max_size    <size>
//	}
func (s *IdempotencyStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"max_records": func() error { return directive.Arg(d, &s.MaxRecords, directive.Integer(1, math.MaxInt)) },
		"max_size":    func() error { return directive.Arg(d, &s.MaxSize, directive.Size) },
	})
}

// Provision implements caddy.Provisioner.
func (s *IdempotencyStore) Provision(ctx caddy.Context) (err error) {
	if s.MaxRecords < 0 || s.MaxSize < 0 {
		return errors.New("the store of idempotency records: max_records and max_size: expected numbers of zero or more")
	}
	s.MaxRecords, s.MaxSize = cmp.Or(s.MaxRecords, defaultMaxRecords), cmp.Or(s.MaxSize, defaultMaxSize)
	if err := meter.Register(ctx.GetMetricsRegistry(), recordFigures()); err != nil {
		return fmt.Errorf("the store of idempotency records: %w", err)
	}
	s.table, s.lease, err = lease.Take(recordTables, "records", func() (*recordTable, error) { return newRecordTable(), nil })
	return err
}

// Cleanup implements caddy.CleanerUpper.
func (s *IdempotencyStore) Cleanup() error { return s.lease.Release() }

// Claim implements idempotency.Store.
func (s *IdempotencyStore) Claim(ctx context.Context, c idempotency.Claim) (idempotency.Record, error) {
	if err := ctx.Err(); err != nil {
		return idempotency.Record{}, err
	}
	return s.table.claim(c, s.MaxRecords, s.MaxSize)
}

// Advance implements idempotency.Store.
func (s *IdempotencyStore) Advance(ctx context.Context, step idempotency.Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.table.advance(step)
}

// Get implements idempotency.Ledger.
func (s *IdempotencyStore) Get(_ context.Context, id string) (idempotency.Record, error) {
	return s.table.get(id)
}

// List implements idempotency.Ledger. The cursor is the last ID.
func (s *IdempotencyStore) List(
	_ context.Context, state idempotency.State, cursor string, limit int,
) ([]idempotency.Record, string, error) {
	found, next := s.table.list(state, cursor, limit)
	return found, next, nil
}

// Resolve implements idempotency.Ledger.
func (s *IdempotencyStore) Resolve(_ context.Context, r idempotency.Resolution) error {
	return s.table.resolve(r)
}

// Interface guards
var (
	_ idempotency.Store     = (*IdempotencyStore)(nil)
	_ idempotency.Ledger    = (*IdempotencyStore)(nil)
	_ caddy.Provisioner     = (*IdempotencyStore)(nil)
	_ caddy.CleanerUpper    = (*IdempotencyStore)(nil)
	_ caddyfile.Unmarshaler = (*IdempotencyStore)(nil)
)
