// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// renewal keeps a claim's lease alive while its request is under way. A request that is over within a third of the lease
// costs a timer and no round trip.
type renewal struct {
	h     *Handler
	step  Step
	every time.Duration

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	over  bool
}

func (h *Handler) keepAlive(claim Claim) *renewal {
	n := &renewal{h: h, every: claim.Lease / 3, step: claim.step(Renew)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timer = time.AfterFunc(n.every, n.renew)
	return n
}

// step is a step of the claim's owner.
func (c Claim) step(act Act) Step {
	return Step{
		ID: c.ID, Owner: c.Owner, Fingerprint: c.Fingerprint, About: c.About,
		Act: act, Lease: c.Lease, Retention: c.Retention,
	}
}

func (n *renewal) renew() {
	if n.stopped() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n.h.StoreTimeout))
	defer cancel()
	err := n.h.advance(ctx, n.step)
	if errors.Is(err, ErrFenced) {
		// The request is sent and cannot be called back. Its answer will be refused too, and counted there.
		n.h.logger.Warn("an operation was resolved or taken over while it was carried out", zap.String("operation", n.step.ID))
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.over {
		n.timer.Reset(n.every)
	}
}

func (n *renewal) stopped() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.over
}

// stop ends the renewing. A renewal that is under way may still reach the store: it never undoes a later step.
func (n *renewal) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	n.timer.Stop()
}
