// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"hash/maphash"
	"sync"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// inflightShards is how many maps share the keys, each with its lock.
const inflightShards = 64

// inflight counts requests in flight. A key without any takes no memory.
type inflight struct {
	seed   maphash.Seed
	shards [inflightShards]struct {
		sync.Mutex
		held map[string]int64
		_    [40]byte
	}
}

func newInflight() *inflight {
	f := &inflight{seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].held = map[string]int64{}
	}
	return f
}

// Destruct implements caddy.Destructor.
func (*inflight) Destruct() error { return nil }

// Take implements reqlimit.Counters.
func (f *inflight) Take(_ context.Context, ask *reqlimit.Ask, result *window.Result) error {
	s := &f.shards[maphash.Bytes(f.seed, ask.Key)%inflightShards]
	s.Lock()
	defer s.Unlock()
	held, limit := s.held[string(ask.Key)], ask.Rule.Windows[0].Limit
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	result.States[0] = window.State{Remaining: max(limit-held, 0)}
	if held+ask.Cost > limit {
		result.Refuse(0, reqlimit.ConcurrencyRetry(ask.Cost, limit))
		return nil
	}
	if ask.Cost > 0 {
		s.held[string(ask.Key)] = held + ask.Cost
		result.States[0].Remaining = limit - held - ask.Cost
	}
	return nil
}

// Give implements reqlimit.Counters.
func (f *inflight) Give(_ context.Context, ask *reqlimit.Ask, _ *window.Receipt) error {
	s := &f.shards[maphash.Bytes(f.seed, ask.Key)%inflightShards]
	s.Lock()
	defer s.Unlock()
	if held := s.held[string(ask.Key)] - ask.Cost; held > 0 {
		s.held[string(ask.Key)] = held
	} else {
		delete(s.held, string(ask.Key))
	}
	return nil
}

// Reset implements reqlimit.Counters. The requests that are in flight go on, uncounted.
func (f *inflight) Reset(_ context.Context, ask *reqlimit.Ask) error {
	s := &f.shards[maphash.Bytes(f.seed, ask.Key)%inflightShards]
	s.Lock()
	defer s.Unlock()
	delete(s.held, string(ask.Key))
	return nil
}
