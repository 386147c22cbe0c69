// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a command that Redis did not answer. All of them are ErrUnavailable to errors.Is; a store applies its
// `on_store_error` to them, as to any error but a nil reply.
var (
	// ErrUnavailable means that the command was not sent: the breaker is open or Redis cannot be reached.
	ErrUnavailable = errors.New("redis is unavailable")
	// ErrUncertain means that the command was sent and no answer came: it may have been carried out.
	ErrUncertain = fmt.Errorf("%w: sent, but not answered", ErrUnavailable)
	// ErrBusy means that the queue of waiting commands is full; the command was not sent.
	ErrBusy = fmt.Errorf("%w: too many commands wait for it", ErrUnavailable)
	// ErrClosed means that no config uses the client any more.
	ErrClosed = fmt.Errorf("%w: the client is closed", ErrUnavailable)
)

// errSilent is why a breaker opened when the prober heard nothing.
var errSilent = errors.New("no answer to a probe in time")

// State is what is known about a client's servers.
type State string

// States of a client.
const (
	StateUnused State = "unused" // no command yet, so nothing was dialed
	StateUp     State = "up"
	StateDown   State = "down" // the breaker is open
	StateClosed State = "closed"
)

// gate is what a request looks at: one pointer to load.
type gate struct {
	err  error         // what a request gets at once; nil lets it pass
	shut chan struct{} // closed when a gate that refuses takes over, which releases those who wait behind this one
}

// breaker holds the gate and its history. The prober alone moves it, so that a burst of slow requests never opens it.
type breaker struct {
	gate atomic.Pointer[gate]

	mu      sync.Mutex // guards the rest; requests never take it
	state   State
	since   time.Time
	lastErr error
	errAt   time.Time
	opens   uint64
	probes  uint64
	failed  uint64
}

func newBreaker() *breaker {
	b := &breaker{state: StateUnused, since: time.Now()}
	b.gate.Store(&gate{shut: make(chan struct{})})
	return b
}

// open refuses from now on and releases all who wait. It reports whether the breaker was not open before.
func (b *breaker) open(reason error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == StateClosed {
		return false
	}
	b.lastErr, b.errAt = reason, time.Now()
	if b.state == StateDown {
		return false
	}
	b.enter(StateDown, ErrUnavailable)
	b.opens++
	return true
}

// close lets requests pass. It returns the state before and how long that lasted.
func (b *breaker) close() (State, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, lasted := b.state, time.Since(b.since)
	if before == StateUnused || before == StateDown {
		b.enter(StateUp, nil)
	}
	return before, lasted
}

// end refuses for good.
func (b *breaker) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enter(StateClosed, ErrClosed)
}

// enter changes the state; b.mu is held.
func (b *breaker) enter(state State, refusal error) {
	old := b.gate.Load()
	switch {
	case refusal != nil:
		b.gate.Store(&gate{err: refusal})
	case old.err != nil:
		b.gate.Store(&gate{shut: make(chan struct{})})
	}
	if refusal != nil && old.err == nil {
		close(old.shut)
	}
	b.state, b.since = state, time.Now()
}

// count adds a finished probe to the history.
func (b *breaker) count(v verdict) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probes++
	if v != healthy {
		b.failed++
	}
}
