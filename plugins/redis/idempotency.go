// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
)

// recordVersion is the version of a record's fields. A record of another version is never replayed and never overwritten.
const recordVersion = "1"

var (
	//go:embed idempotency_claim.lua
	claimSource string
	claimRecord = NewScript(claimSource)

	//go:embed idempotency_advance.lua
	advanceSource string
	advanceRecord = NewScript(advanceSource)
)

func init() { caddy.RegisterModule(IdempotencyStore{}) }

// IdempotencyStore keeps idempotency records in Redis, for any number of proxies. A record is one hash, and each step is
// one script upon it, so a cluster needs no hash tags. Redis' own clock decides when a lease ends.
//
// What Redis loses is lost: give it `appendonly yes`, with `appendfsync always` if a crash of its machine must lose no
// record, and `maxmemory-policy noeviction`.
type IdempotencyStore struct {
	// Client is the name of the client in the `redis` app. Default: the client without a name.
	Client string `json:"client,omitempty"`

	client *Client
}

// CaddyModule returns the Caddy module information.
func (IdempotencyStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: idempotency.Namespace + ".redis", New: func() caddy.Module { return new(IdempotencyStore) }}
}

// UnmarshalCaddyfile reads the store's options. Syntax:
//
//	store redis [<client>]
func (s *IdempotencyStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := parseGuest(d, "store redis", &s.Client); err != nil {
		return err
	}
	return directive.NoBlock(d)
}

// Provision finds the client. It dials nothing.
func (s *IdempotencyStore) Provision(ctx caddy.Context) error {
	var err error
	s.client, err = clientFor(ctx, s.Client, "the store of idempotency records")
	return err
}

// recordPrefix comes before an ID in a record's key.
func (s *IdempotencyStore) recordPrefix() string { return s.client.Key("idempotency", "") }

func (s *IdempotencyStore) run(ctx context.Context, script *Script, id string, args ...any) (any, error) {
	cmd, err := s.client.RunAlone(ctx, script, []string{s.recordPrefix() + id}, args...)
	switch {
	case errors.Is(err, ErrUncertain):
		return nil, fmt.Errorf("%w: %w", idempotency.ErrUncertain, err)
	case err != nil:
		return nil, err
	}
	return cmd.Val(), nil
}

// Claim implements idempotency.Store.
func (s *IdempotencyStore) Claim(ctx context.Context, c idempotency.Claim) (idempotency.Record, error) {
	state, retry := idempotency.Sent, "0"
	if c.Pending {
		state = idempotency.Pending
	}
	if c.Retry {
		retry = "1"
	}
	reply, err := s.run(ctx, claimRecord, c.ID, recordVersion, c.Owner, c.Fingerprint, c.About, state.String(), retry,
		c.Lease.Milliseconds(), c.Retention.Milliseconds())
	if err != nil {
		return idempotency.Record{}, fmt.Errorf("claiming an operation in redis: %w", err)
	}
	if now, ok := reply.(int64); ok {
		return madeRecord(c, state, now), nil
	}
	return readRecord(c.ID, reply)
}

// madeRecord is the record that a claim made at that time.
func madeRecord(c idempotency.Claim, state idempotency.State, milliseconds int64) idempotency.Record {
	now := time.UnixMilli(milliseconds).UTC()
	return idempotency.Record{
		ID: c.ID, State: state, Fingerprint: c.Fingerprint, Owner: c.Owner, Fence: 1, About: c.About,
		Created: now, LeaseEnds: now.Add(c.Lease), Expires: now.Add(c.Retention),
	}
}

// Advance implements idempotency.Store.
func (s *IdempotencyStore) Advance(ctx context.Context, step idempotency.Step) error {
	reply, err := s.run(ctx, advanceRecord, step.ID, recordVersion, step.Owner, step.Fingerprint, step.About, step.Act.String(),
		step.Answer, step.Reason, step.Lease.Milliseconds(), step.Retention.Milliseconds())
	switch {
	case err != nil:
		return fmt.Errorf("storing the step %q in redis: %w", step.Act, err)
	case reply != int64(1):
		return idempotency.ErrFenced
	}
	return nil
}

// recordFields is how many fields a script returns of a record.
const recordFields = 10

// readRecord decodes what the scripts return. What is not understood is Foreign.
func readRecord(id string, reply any) (idempotency.Record, error) {
	list, ok := reply.([]any)
	if !ok || len(list) != recordFields {
		return idempotency.Record{}, fmt.Errorf("redis returned %d fields of a record, want %d", len(list), recordFields)
	}
	var fields [recordFields]string
	for i, field := range list {
		if fields[i], ok = field.(string); !ok {
			return idempotency.Record{}, fmt.Errorf("redis returned a record whose field %d is a %T", i, field)
		}
	}
	rec := idempotency.Record{
		ID: id, State: recordState(fields[0]), Fingerprint: fields[1], Owner: fields[2], About: fields[6], Reason: fields[7],
		Answer: []byte(fields[9]),
	}
	var numbers [4]int64
	for i, at := range []int{3, 4, 5, 8} {
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			rec.State = idempotency.Foreign
		}
		numbers[i] = n
	}
	rec.Fence, rec.LeaseEnds, rec.Created = numbers[0], time.UnixMilli(numbers[1]).UTC(), time.UnixMilli(numbers[2]).UTC()
	rec.Expires = time.Now().Add(time.Duration(numbers[3]) * time.Millisecond).UTC().Truncate(time.Millisecond)
	return rec, nil
}

// recordState reads the name of a state; one that is not known is Foreign.
func recordState(name string) idempotency.State {
	for state := idempotency.Pending; state < idempotency.Foreign; state++ {
		if state.String() == name {
			return state
		}
	}
	return idempotency.Foreign
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*IdempotencyStore)(nil)
	_ caddyfile.Unmarshaler = (*IdempotencyStore)(nil)
	_ idempotency.Store     = (*IdempotencyStore)(nil)
	_ idempotency.Ledger    = (*IdempotencyStore)(nil)
)
