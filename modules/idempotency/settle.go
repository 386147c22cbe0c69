// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// maxUnsettled and maxUnsettledBytes bound the steps that wait for a store that is away, a process. What does not fit is
	// dropped and counted; its record turns Unknown by its lease.
	maxUnsettled      = 10_000
	maxUnsettledBytes = 64 << 20

	settleFirst = 20 * time.Millisecond
	settleLast  = time.Second
)

// settler takes steps that the store did not take at once, until it does: the answer of an operation that was carried out,
// or the release of a claim of which nobody knows whether the store has it. A client never waits for it.
type settler struct {
	engine *engine
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	stopped bool
	count   int
	bytes   int
}

// settle takes the step in the background. timeout bounds each try; after the record's retention the step is moot.
func (s *settler) settle(step Step, timeout time.Duration) {
	if !s.admit(len(step.Answer)) {
		metrics().dropped.Inc()
		return
	}
	go func() {
		defer s.leave(len(step.Answer))
		s.run(step, timeout)
	}()
}

func (s *settler) admit(size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.count >= maxUnsettled || s.bytes+size > maxUnsettledBytes {
		return false
	}
	s.count++
	s.bytes += size
	s.tasks.Add(1)
	return true
}

func (s *settler) leave(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	s.bytes -= size
	s.tasks.Done()
}

func (s *settler) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *settler) run(step Step, timeout time.Duration) {
	wait, over := settleFirst, time.Now().Add(step.Retention)
	for time.Now().Before(over) {
		if s.try(step, timeout) {
			return
		}
		timer := time.NewTimer(wait/2 + rand.N(wait)) // #nosec G404 -- only spreads the tries
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, settleLast)
	}
}

// try reports whether nothing is left to do.
func (s *settler) try(step Step, timeout time.Duration) bool {
	source := s.engine.current()
	if source == nil {
		return false // between two configs, or at the end of the process
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	err := source.store.Advance(ctx, step)
	if errors.Is(err, ErrFenced) {
		metrics().fenced.Inc()
		source.logger.Warn("an operation was resolved or taken over before its outcome could be stored",
			zap.String("operation", step.ID), zap.Stringer("step", step.Act))
		return true
	}
	return err == nil
}

// stop lets the tasks try for a last while, and ends them.
func (s *settler) stop(patience time.Duration) {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	timer := time.AfterFunc(patience, s.cancel)
	s.tasks.Wait()
	timer.Stop()
	s.cancel()
}
