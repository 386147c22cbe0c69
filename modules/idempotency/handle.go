// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const (
	// Between two looks at a record that another process holds.
	pollFirst = 25 * time.Millisecond
	pollLast  = 250 * time.Millisecond
)

// bound are the counters of one handler, so that counting looks up no labels.
type bound struct {
	requests [outcomes]prometheus.Counter
	steps    [Doubt + 2]prometheus.Observer // by Act; the last is Claim
}

func bind(dryRun bool) (b bound) {
	mode := map[bool]string{false: "enforce", true: "dry_run"}[dryRun]
	for o := range outcomes {
		b.requests[o] = metrics().requests.WithLabelValues(mode, o.String())
	}
	for act := Renew; act <= Doubt; act++ {
		b.steps[act] = metrics().steps.WithLabelValues(act.String())
	}
	b.steps[Doubt+1] = metrics().steps.WithLabelValues("claim")
	return b
}

// result is what a request that dealt with the store found out, for itself and for all that waited for it.
type result struct {
	outcome   outcome
	operation string
	answer    *answer // for executed, replayed and unavailable; nil for the latter if it cannot be read
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !h.methods[r.Method] {
		return next.ServeHTTP(w, r)
	}
	values := r.Header[h.Header]
	if len(values) == 0 && !h.requires(r) {
		h.bound.requests[passed].Inc()
		return next.ServeHTTP(w, r)
	}
	defer h.engine.present.Add(-1)
	var op *operation
	var no *denied
	if h.engine.present.Add(1) <= crowd {
		op, no = h.admit(r, next, values)
	} else {
		aside(func() { op, no = h.admit(r, next, values) })
	}
	switch {
	case h.DryRun:
		return h.observe(w, r, next, op, no)
	case no != nil:
		h.record(r, no.outcome, "")
		return h.refuse(w, r, no.problem, no.detail, nil)
	}
	return h.serve(w, op)
}

func (h *Handler) requires(r *http.Request) bool {
	return len(h.Require) > 0 && h.Require.Match(r)
}

// serve goes round until the request has its answer: one that waited for another that was released tries itself.
func (h *Handler) serve(w http.ResponseWriter, op *operation) error {
	if op.r.Context().Value(heldKey{}) == (held{h.engine, op.claim.ID}) {
		return op.next.ServeHTTP(w, restore(op.r, op.body)) // a handler before this one holds the record: it would wait for itself
	}
	end := time.Now().Add(time.Duration(*h.Wait))
	key := flightKey{op.claim.ID, op.claim.Fingerprint}
	for {
		f, leads := h.engine.join(key)
		if leads {
			return h.lead(w, op, key, f, end)
		}
		res, over := h.await(op, f, end)
		if over || res.outcome != released && res.outcome != abandoned && res.outcome != conflicted {
			return h.answer(w, op, follow(res))
		}
	}
}

// follow turns the outcome of the one who was waited for into one's own.
func follow(res result) result {
	switch res.outcome {
	case executed:
		if res.outcome = replayed; res.answer.omitted {
			res.outcome = unavailable
		}
	case doubted:
		res.outcome = unresolved
	}
	return res
}

// await waits for another request of this process; over says that there is nothing more to wait for.
func (h *Handler) await(op *operation, f *flight, end time.Time) (res result, over bool) {
	conflict := result{outcome: conflicted, operation: op.claim.ID}
	if !h.engine.enter(len(op.body), h.MaxWaiters, h.MaxWaitingSize) {
		return conflict, true
	}
	defer h.engine.leave(len(op.body))
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-f.done:
		return f.result, false
	case <-timer.C:
		return conflict, true
	case <-op.r.Context().Done():
		return result{outcome: abandoned, operation: op.claim.ID}, true
	}
}

// lead deals with the store, and tells those who wait.
func (h *Handler) lead(w http.ResponseWriter, op *operation, key flightKey, f *flight, end time.Time) error {
	res := result{outcome: doubted, operation: op.claim.ID} // for those who wait, if a handler panics
	landed := false
	defer func() {
		if !landed {
			h.engine.land(key, f, res)
		}
	}()
	res, holds := h.settleClaim(op, end)
	if !holds {
		h.engine.land(key, f, res)
		landed = true
		return h.answer(w, op, res)
	}
	res = result{outcome: doubted, operation: op.claim.ID}
	return h.execute(w, op, func(found result) {
		res = found
		h.engine.land(key, f, res)
		landed = true
	})
}

// settleClaim claims until the operation is held, or it is clear that it will not be.
func (h *Handler) settleClaim(op *operation, end time.Time) (res result, holds bool) {
	mayProbe := h.OnUnknown == unknownProbe // once a request
	for wait := pollFirst; ; wait = min(2*wait, pollLast) {
		rec, err := h.claim(op)
		if err != nil {
			return h.storeAway(op, err), false
		}
		switch v := judge(rec, op.claim.Owner, op.claim.Fingerprint); v {
		case execute:
			return result{}, true
		case inFlight:
			if res, over := h.pause(op, wait, end); over {
				return res, false
			}
		case doubtful:
			if !mayProbe || !h.probe(op, rec) {
				return result{outcome: unresolved, operation: rec.ID}, false
			}
			mayProbe = false
		default:
			return h.known(rec, v), false
		}
	}
}

// known is the result of a record that is not going to change.
func (h *Handler) known(rec Record, v verdict) result {
	res := result{operation: rec.ID, outcome: unavailable}
	switch v {
	case mismatch:
		res.outcome = mismatched
	case unreadable: // another version may know what became of it
		res.outcome = unresolved
	case replay:
		kept, err := h.decode(rec)
		if err != nil {
			h.logger.Error("a stored answer cannot be replayed", zap.String("operation", rec.ID), zap.Error(err))
			return res
		}
		if res.answer = kept; !kept.omitted {
			res.outcome = replayed
		}
	}
	return res
}

func (h *Handler) decode(rec Record) (*answer, error) {
	plain, err := h.keys.open(rec.ID, rec.Answer)
	if err != nil {
		return nil, err
	}
	return decodeAnswer(plain)
}

// pause waits before the next look at a record that another process holds.
func (h *Handler) pause(op *operation, wait time.Duration, end time.Time) (res result, over bool) {
	conflict := result{outcome: conflicted, operation: op.claim.ID}
	left := time.Until(end)
	if left <= 0 {
		return conflict, true
	}
	if !h.engine.enter(len(op.body), h.MaxWaiters, h.MaxWaitingSize) {
		return conflict, true
	}
	defer h.engine.leave(len(op.body))
	timer := time.NewTimer(min(left, wait/2+rand.N(wait))) // #nosec G404 -- only spreads the looks
	defer timer.Stop()
	select {
	case <-timer.C:
		return result{}, false
	case <-op.r.Context().Done():
		return result{outcome: abandoned, operation: op.claim.ID}, true
	}
}

// claim asks the store; where its answer was lost it asks again, within the same time.
func (h *Handler) claim(op *operation) (rec Record, err error) {
	// Not the request's context: a claim that is cut off by a client that leaves would be uncertain.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(op.r.Context()), time.Duration(h.StoreTimeout))
	defer cancel()
	begun := time.Now()
	defer func() { h.bound.steps[Doubt+1].Observe(time.Since(begun).Seconds()) }()
	rec, err = h.store.Claim(ctx, op.claim)
	uncertain := errors.Is(err, ErrUncertain)
	for errors.Is(err, ErrUncertain) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		rec, err = h.store.Claim(ctx, op.claim)
	}
	if err != nil && uncertain {
		h.settle(op.claim.step(Release))
	}
	return rec, err
}

// advance takes a step in the store.
func (h *Handler) advance(ctx context.Context, step Step) error {
	begun := time.Now()
	err := h.store.Advance(ctx, step)
	h.bound.steps[step.Act].Observe(time.Since(begun).Seconds())
	return err
}

func (h *Handler) storeAway(op *operation, err error) result {
	h.logger.Warn("the store of idempotency records failed", zap.String("operation", op.claim.ID),
		zap.String("on_store_error", h.OnStoreError), zap.Error(err))
	if h.OnStoreError == storeErrorOpen {
		return result{outcome: unprotected, operation: op.claim.ID}
	}
	return result{outcome: storeFailed, operation: op.claim.ID}
}

// answer answers a request that does not carry the operation out itself.
func (h *Handler) answer(w http.ResponseWriter, op *operation, res result) error {
	h.record(op.r, res.outcome, res.operation)
	known := map[string]any{"operation": res.operation}
	switch res.outcome {
	case replayed:
		h.replay(w, res.answer)
		return nil
	case mismatched:
		return h.refuse(w, op.r, h.problems.mismatch, "", nil)
	case conflicted:
		return h.refuse(w, op.r, h.problems.inFlight, "", known)
	case unresolved:
		known["safe_new_key"] = false
		return h.refuse(w, op.r, h.problems.unknown, "", known)
	case unavailable:
		if res.answer != nil {
			known["original_status"] = res.answer.status
			if location := res.answer.header.Get("Location"); location != "" {
				w.Header().Set("Location", location)
			}
		}
		return h.refuse(w, op.r, h.problems.unavailable, "", known)
	case abandoned:
		w.WriteHeader(statusClientGone) // for the access log: nobody reads it
		return nil
	case unprotected:
		return h.forward(w, op)
	}
	return h.refuse(w, op.r, h.problems.away, "", nil)
}

// replay writes a kept answer. A cache in front must not keep it for others.
func (h *Handler) replay(w http.ResponseWriter, a *answer) {
	header := w.Header()
	for name, values := range a.header {
		header[name] = slices.Clone(values) // those who waited share the answer, and handlers in front may change it in place
	}
	if h.ReplayHeader != noHeader {
		header.Set(h.ReplayHeader, "true")
	}
	header.Set("Cache-Control", "no-store")
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may have left; the answer stays for its next try
}

// record counts and shows what became of a request.
func (h *Handler) record(r *http.Request, o outcome, operation string) {
	h.bound.requests[o].Inc()
	h.recorder.Record(r, o.String(), operation)
}

func milliseconds(d caddy.Duration) time.Duration {
	return max(time.Duration(d).Truncate(time.Millisecond), time.Millisecond)
}

func replacerOf(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
