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

// Between two tries of a step.
const (
	settleFirst = 20 * time.Millisecond
	settleLast  = time.Second
)

// terms are what a config allows to the steps that wait for a store that is away. What does not fit is dropped and counted; its
// record turns Unknown by its lease.
type terms struct {
	timeout time.Duration // of each try
	most    int           // steps that wait, of all configs
	bytes   int64         // of their answers
}

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
	bytes   int64
}

// settle takes a step in the background that the store did not take.
func (h *Handler) settle(step Step) {
	h.engine.unsettled.settle(step, terms{time.Duration(h.StoreTimeout), h.MaxUnsettled, h.MaxUnsettledSize})
}

// settle takes the step in the background, on these terms; after the record's retention the step is moot.
func (s *settler) settle(step Step, t terms) {
	size := int64(len(step.Answer))
	if !s.admit(size, t) {
		metrics().dropped.Inc()
		return
	}
	go func() {
		defer s.leave(size)
		s.run(step, t.timeout)
	}()
}

func (s *settler) admit(size int64, t terms) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.count >= t.most || s.bytes+size > t.bytes {
		return false
	}
	s.count++
	s.bytes += size
	s.tasks.Add(1)
	return true
}

func (s *settler) leave(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	s.bytes -= size
	s.tasks.Done()
}

// pending returns how many steps wait, and how many bytes their answers take.
func (s *settler) pending() (count int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.bytes
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
