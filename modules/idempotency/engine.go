// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// engines holds what this process knows of the operations in each store, by the store's module and options.
var engines = caddy.NewUsagePool()

// farewell is how long a process that ends waits for steps that the store has not taken yet.
const farewell = 2 * time.Second

// engine outlives configs: requests that wait for one another, and steps that the store has not taken yet.
type engine struct {
	name         string       // the store's module name
	present      atomic.Int64 // requests with a key
	waiting      atomic.Int64
	waitingBytes atomic.Int64 // of their bodies
	executing    atomic.Int64

	mu      sync.Mutex // guards what follows
	flights map[flightKey]*flight
	sources []*source // attached stores; the newest one serves what outlives a config

	unsettled settler
}

// source is the store of one config.
type source struct {
	store     Store
	keys      *keys
	retention time.Duration
	logger    *zap.Logger
}

// flightKey tells requests apart that must not wait for one another: those with another fingerprint are none of its business.
type flightKey struct{ id, fingerprint string }

// flight is one request that deals with the store on behalf of all equal ones in this process.
type flight struct {
	done   chan struct{} // closed when result is set
	result result
}

func newEngine(name string) *engine {
	e := &engine{name: name, flights: map[flightKey]*flight{}}
	e.unsettled.ctx, e.unsettled.cancel = context.WithCancel(context.Background())
	e.unsettled.engine = e
	return e
}

// engineKey names a store: its module and its options, hashed, as they may hold secrets.
func engineKey(store Store, raw json.RawMessage) (key, name string, err error) {
	module, ok := store.(caddy.Module)
	if !ok {
		return "", "", fmt.Errorf("store %T is no Caddy module", store)
	}
	options := map[string]json.RawMessage{}
	if raw != nil {
		if err := json.Unmarshal(raw, &options); err != nil {
			return "", "", fmt.Errorf("reading the options of the store: %w", err)
		}
		delete(options, "store") // a store that is named and one that is the default are the same
	}
	canonical, err := json.Marshal(options)
	if err != nil {
		return "", "", fmt.Errorf("reading the options of the store: %w", err)
	}
	id := module.CaddyModule().ID
	return fmt.Sprintf("%s %x", id, sha256.Sum256(canonical)), id.Name(), nil
}

// Destruct implements caddy.Destructor, at the end of the process or when no config uses the store any more.
func (e *engine) Destruct() error {
	e.unsettled.stop(farewell)
	return nil
}

func (e *engine) attach(s *source) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sources = append(e.sources, s)
}

func (e *engine) detach(s *source) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, other := range e.sources {
		if other == s {
			e.sources = append(e.sources[:i:i], e.sources[i+1:]...)
			return
		}
	}
}

// current is the newest attached store, nil if there is none.
func (e *engine) current() *source {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.sources) == 0 {
		return nil
	}
	return e.sources[len(e.sources)-1]
}

// enter reports whether another request with a body of this size may wait, beside no more than most with bodies of no more
// than mostBytes together; it then has to leave.
func (e *engine) enter(size, most int, mostBytes int64) bool {
	waiting, bytes := e.waiting.Add(1), e.waitingBytes.Add(int64(size))
	if waiting <= int64(most) && bytes <= mostBytes {
		return true
	}
	e.leave(size)
	return false
}

func (e *engine) leave(size int) {
	e.waiting.Add(-1)
	e.waitingBytes.Add(-int64(size))
}

// join returns the flight for the operation, and whether the caller leads it: it then has to call land.
func (e *engine) join(key flightKey) (f *flight, leads bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f, ok := e.flights[key]; ok {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	e.flights[key] = f
	return f, true
}

// land ends a flight and tells those who wait.
func (e *engine) land(key flightKey, f *flight, res result) {
	e.mu.Lock()
	delete(e.flights, key)
	e.mu.Unlock()
	f.result = res
	close(f.done)
}
