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
	shards [inflightShards]inflightShard
}

type inflightShard struct {
	sync.Mutex // guards the rest
	held       map[string]held
	last       int64 // the latest held.since
	_          [32]byte
}

// held is what is in flight of a key.
type held struct {
	count int64
	// since tells it from what was held before a reset, whose requests are in flight uncounted and give nothing back.
	since int64
}

func newInflight() *inflight {
	f := &inflight{seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].held = map[string]held{}
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
	h, limit := s.held[string(ask.Key)], ask.Rule.Windows[0].Limit
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	result.States[0] = window.State{Remaining: max(limit-h.count, 0)}
	switch {
	case ask.Cost == 0:
		return nil
	case h.count+ask.Cost > limit:
		result.Refuse(0, reqlimit.ConcurrencyRetry(ask.Cost, limit))
		return nil
	case h.count == 0:
		s.last++
		h.since = s.last
	}
	h.count += ask.Cost
	s.held[string(ask.Key)] = h
	result.States[0].Remaining = limit - h.count
	result.Receipt[0] = h.since
	return nil
}

// Give implements reqlimit.Counters.
func (f *inflight) Give(_ context.Context, ask *reqlimit.Ask, receipt *window.Receipt) error {
	s := &f.shards[maphash.Bytes(f.seed, ask.Key)%inflightShards]
	s.Lock()
	defer s.Unlock()
	h, ok := s.held[string(ask.Key)]
	if !ok || h.since != receipt[0] {
		return nil
	}
	if h.count -= ask.Cost; h.count > 0 {
		s.held[string(ask.Key)] = h
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
