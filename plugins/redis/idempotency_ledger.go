// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
)

// scanPage is about how many keys are looked at in one step of a listing.
const scanPage = 500

var (
	//go:embed idempotency_get.lua
	getSource string
	getRecord = NewScript(getSource)

	//go:embed idempotency_resolve.lua
	resolveSource string
	resolveRecord = NewScript(resolveSource)
)

// Get implements idempotency.Ledger.
func (s *IdempotencyStore) Get(ctx context.Context, id string) (idempotency.Record, error) {
	return s.get(ctx, id, "1")
}

func (s *IdempotencyStore) get(ctx context.Context, id, withAnswer string) (idempotency.Record, error) {
	reply, err := s.run(ctx, getRecord, id, recordVersion, withAnswer)
	if err != nil {
		return idempotency.Record{}, fmt.Errorf("reading a record from redis: %w", err)
	}
	if list, ok := reply.([]any); ok && len(list) == 0 {
		return idempotency.Record{}, idempotency.ErrNoRecord
	}
	return readRecord(id, reply)
}

// Resolve implements idempotency.Ledger.
func (s *IdempotencyStore) Resolve(ctx context.Context, r idempotency.Resolution) error {
	with := "0"
	if r.Answer != nil {
		with = "1"
	}
	reply, err := s.run(ctx, resolveRecord, r.ID, recordVersion, r.Fence, with, r.Answer, r.Retention.Milliseconds())
	switch {
	case err != nil:
		return fmt.Errorf("resolving a record in redis: %w", err)
	case reply == int64(-1):
		return idempotency.ErrNoRecord
	case reply != int64(1):
		return idempotency.ErrFenced
	}
	return nil
}

// List implements idempotency.Ledger: it scans the keys of one master after the other. The cursor is the master's address and
// its own cursor.
func (s *IdempotencyStore) List(
	ctx context.Context, state idempotency.State, cursor string, limit int,
) ([]idempotency.Record, string, error) {
	masters, err := s.masters(ctx)
	if err != nil {
		return nil, "", err
	}
	at, position, err := startOf(masters, cursor)
	if err != nil {
		return nil, "", err
	}
	found := []idempotency.Record{}
	for at < len(masters) {
		keys, next, err := masters[at].client.Scan(ctx, position, s.recordPrefix()+"*", scanPage).Result()
		if err != nil {
			return nil, "", fmt.Errorf("listing records in redis: %w", err)
		}
		if found, err = s.collect(ctx, found, keys, state); err != nil {
			return nil, "", err
		}
		if position = next; position == 0 {
			at++
		}
		if len(found) >= limit {
			break
		}
	}
	if at == len(masters) {
		return found, "", nil
	}
	return found, masters[at].address + " " + strconv.FormatUint(position, 10), nil
}

// collect reads the records of some keys at once, which the client batches.
func (s *IdempotencyStore) collect(
	ctx context.Context, found []idempotency.Record, keys []string, state idempotency.State,
) ([]idempotency.Record, error) {
	records, errs := make([]idempotency.Record, len(keys)), make([]error, len(keys))
	var group sync.WaitGroup
	for i, key := range keys {
		group.Go(func() { records[i], errs[i] = s.get(ctx, strings.TrimPrefix(key, s.recordPrefix()), "0") })
	}
	group.Wait()
	for i, rec := range records {
		switch {
		case errors.Is(errs[i], idempotency.ErrNoRecord): // it expired meanwhile
		case errs[i] != nil:
			return nil, errs[i]
		case state == idempotency.Absent || rec.State == state:
			found = append(found, rec)
		}
	}
	return found, nil
}

// master is a server that holds a part of the keys.
type master struct {
	address string
	client  *goredis.Client
}

// masters are the servers in the order of their addresses.
func (s *IdempotencyStore) masters(ctx context.Context) ([]master, error) {
	universal, err := s.client.Universal()
	if err != nil {
		return nil, err
	}
	var found []master
	switch client := universal.(type) {
	case *goredis.Client:
		found = append(found, master{client.Options().Addr, client})
	case *goredis.ClusterClient:
		var mu sync.Mutex
		err = client.ForEachMaster(ctx, func(_ context.Context, c *goredis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, master{c.Options().Addr, c})
			return nil
		})
	default:
		err = fmt.Errorf("cannot list the keys of a %T", universal)
	}
	sort.Slice(found, func(i, j int) bool { return found[i].address < found[j].address })
	return found, err
}

// startOf finds where a listing goes on.
func startOf(masters []master, cursor string) (at int, position uint64, err error) {
	if cursor == "" {
		return 0, 0, nil
	}
	address, number, _ := strings.Cut(cursor, " ")
	position, err = strconv.ParseUint(number, 10, 64)
	for i, m := range masters {
		if err == nil && m.address == address {
			return i, position, nil
		}
	}
	return 0, 0, fmt.Errorf("%q is no cursor of this store; begin again", cursor)
}
