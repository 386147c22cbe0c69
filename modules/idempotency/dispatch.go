// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"
)

// exchange is one operation on its way to the application and back.
type exchange struct {
	guard    guard
	rec      *recorder
	err      error // what the handlers behind returned
	panicked any   // what they panicked with
	timedOut bool
}

// execute carries the operation out, stores what became of it, tells those who wait, and answers. A kept answer is given to
// the client while it is stored: a client that has it is not going to ask again, and one that asks all the same meanwhile
// finds its operation under way and waits.
func (h *Handler) execute(w http.ResponseWriter, op *operation, tell func(result)) error {
	if res, ok := h.send(op); !ok {
		tell(res)
		return h.answer(w, op, res)
	}
	h.engine.executing.Add(1)
	defer h.engine.executing.Add(-1)
	alive := h.keepAlive(op.claim)
	defer alive.stop()
	x := h.dispatch(w, op)
	defer x.rec.free()
	alive.stop()

	plan := conclude(x.facts(), h.ReleaseStatus)
	metrics().endings.WithLabelValues(plan.reason).Inc()
	step, res := h.conserve(op, x, plan)
	h.record(op.r, res.outcome, res.operation)
	store := func() {
		h.commit(step)
		tell(res)
	}
	if !h.atOnce(x, plan) {
		store()
		return h.deliver(w, op, x, plan)
	}
	defer beside(store)() // neither waits for the other: the client may be slow to read, and the store away
	err := h.deliver(w, op, x, plan)
	_ = http.NewResponseController(w).Flush() // what cannot be flushed is given when this returns
	return err
}

// atOnce reports whether the client gets its answer before that is known to be stored. Whoever does not let retries wait is
// to find the answer when it has one, and so is precise.
func (h *Handler) atOnce(x *exchange, plan ending) bool {
	return plan.act == Finish && !x.rec.streaming && !h.Precise && *h.Wait > 0
}

// send turns a claim of precise mode into one that is sent. Anything but success takes the claim back.
func (h *Handler) send(op *operation) (res result, ok bool) {
	if !op.claim.Pending {
		return result{}, true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(op.r.Context()), time.Duration(h.StoreTimeout))
	defer cancel()
	err := h.advance(ctx, op.claim.step(Send))
	if err == nil {
		return result{}, true
	}
	h.settle(op.claim.step(Release))
	return h.storeAway(op, err), false
}

// dispatch calls the handlers behind, detached from the client: neither its leaving nor its slowness ends the work.
func (h *Handler) dispatch(w http.ResponseWriter, op *operation) *exchange {
	x := &exchange{rec: newRecorder(w, h.MaxResponse)}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(op.r.Context()), time.Duration(h.Timeout))
	defer cancel()
	x.guard.hasContent = op.hasContent()
	ctx = x.guard.watch(ctx)
	defer x.guard.end()
	x.call(op, context.WithValue(ctx, heldKey{}, held{h.engine, op.claim.ID}))
	x.timedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
	if x.guard.vetoed.Load() {
		metrics().vetoes.Inc()
	}
	return x
}

// held is the record that a request's context says is held on its behalf, under heldKey.
type (
	held struct {
		engine *engine
		id     string
	}
	heldKey struct{}
)

// announcing are the methods whose requests tell that they have no content, RFC 9110 section 8.6.
func announcing() []string { return []string{http.MethodPost, http.MethodPut, http.MethodPatch} }

// hasContent reports whether the header of the request tells of content.
func (op *operation) hasContent() bool {
	return len(op.body) > 0 || slices.Contains(announcing(), op.r.Method)
}

func (x *exchange) call(op *operation, ctx context.Context) {
	defer func() { x.panicked = recover() }()
	x.err = op.next.ServeHTTP(x.rec, op.outgoing().WithContext(ctx))
	if x.err == nil && x.rec.status == 0 {
		x.rec.WriteHeader(http.StatusOK) // which net/http would do
	}
}

func (x *exchange) facts() facts {
	return facts{
		reach:    x.guard.reached(x.err, x.timedOut),
		vetoed:   x.guard.vetoed.Load(),
		err:      x.err,
		panicked: x.panicked != nil,
		ended:    x.timedOut,
		status:   x.rec.status,
		complete: x.rec.complete(),
		retry:    x.rec.written.Get("Retry-After") != "",
		policy:   x.rec.policy,
	}
}

// conserve makes the last step, and what those who wait are told.
func (h *Handler) conserve(op *operation, x *exchange, plan ending) (step Step, res result) {
	step = op.claim.step(plan.act)
	res.operation = op.claim.ID
	switch plan.act {
	case Release:
		res.outcome = released
	case Doubt:
		res.outcome, step.Reason = doubted, plan.reason
		h.logger.Error("the outcome of an operation is unknown; `gatehouse idempotency resolve` settles it",
			zap.String("operation", op.claim.ID), zap.String("reason", plan.reason), zap.Error(x.err))
	case Finish:
		kept := x.keep(h, plan.omit)
		res.answer = kept
		res.outcome = executed
		step.Answer = h.keys.seal(op.claim.ID, kept.encode())
		if ttl := x.rec.policy.ttl; ttl > 0 {
			step.Retention = ttl
		}
	}
	if bad := x.rec.policy.bad; bad != "" {
		h.logger.Warn("the application sent an Idempotency-Policy that is not understood", zap.String("word", bad))
	}
	return step, res
}

// commit takes the last step. If the store does not take it at once it is taken in the background: the answer is the true
// one whether it is stored or not.
func (h *Handler) commit(step Step) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(h.StoreTimeout))
	defer cancel()
	err := h.advance(ctx, step)
	switch {
	case errors.Is(err, ErrFenced):
		metrics().fenced.Inc()
		h.logger.Warn("an operation was resolved or taken over before its outcome could be stored",
			zap.String("operation", step.ID), zap.Stringer("step", step.Act))
	case err != nil:
		h.logger.Warn("the outcome of an operation is not stored yet; trying on in the background",
			zap.String("operation", step.ID), zap.Stringer("step", step.Act), zap.Error(err))
		h.settle(step)
	}
}

// keep makes the answer that is stored. It shares nothing with the recorder, whose buffer is used again.
func (x *exchange) keep(h *Handler, omit bool) *answer {
	a := &answer{status: x.rec.status, header: h.fields.keep(x.rec.written), omitted: omit || x.rec.streaming}
	if omit {
		a.header = nil
	}
	if !a.omitted {
		a.body = append([]byte(nil), x.rec.body.Bytes()...)
	}
	return a
}

// deliver answers the client whose request was carried out.
func (h *Handler) deliver(w http.ResponseWriter, op *operation, x *exchange, plan ending) error {
	switch {
	case x.panicked != nil && (x.rec.streaming || x.panicked != http.ErrAbortHandler):
		panic(x.panicked) // the client has a part of the response already, or it is a bug for the log
	case plan.act != Doubt && x.err == nil && x.panicked == nil:
		x.rec.finish()
		return nil
	case x.rec.streaming:
		panic(http.ErrAbortHandler) // or the client would take a part for the whole
	case plan.act == Release:
		if x.panicked != nil {
			panic(x.panicked)
		}
		return x.err
	}
	p := h.problems.broken
	if plan.reason == reasonTimeout || x.rec.status == http.StatusGatewayTimeout {
		p.status = http.StatusGatewayTimeout
	}
	return h.refuse(w, op.r, p, "", map[string]any{"operation": op.claim.ID, "safe_new_key": false})
}
