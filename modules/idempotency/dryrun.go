// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// observe is a dry run: it finds out what would have become of the request, and lets it pass as it came.
func (h *Handler) observe(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, op *operation, no *denied) error {
	if no != nil {
		h.report(r, no.outcome, "")
		return next.ServeHTTP(w, r)
	}
	rec, err := h.claim(op)
	o := executed
	if err != nil {
		o = storeFailed
	} else {
		o = foreseen(judge(rec, op.claim.Owner, op.claim.Fingerprint))
	}
	h.report(r, o, op.claim.ID)
	if o != executed {
		return next.ServeHTTP(w, restore(r, op.body))
	}
	return h.observeExecution(w, op)
}

// observeExecution notes how the operation ended, without its answer: it is not replayed.
func (h *Handler) observeExecution(w http.ResponseWriter, op *operation) error {
	step := op.claim.step(Doubt)
	step.Reason = reasonNoAnswer
	defer func() { h.commit(step) }()
	seen := &statusWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := op.next.ServeHTTP(seen, restore(op.r, op.body))
	plan := conclude(facts{reach: unproven, err: err, status: seen.status, complete: true}, h.ReleaseStatus)
	step = op.claim.step(plan.act)
	if step.Reason = plan.reason; plan.act == Finish {
		step.Answer = h.keys.seal(op.claim.ID, (&answer{status: seen.status, omitted: true}).encode())
	}
	return err
}

// foreseen is the outcome that a verdict would have had.
func foreseen(v verdict) outcome {
	return [...]outcome{
		execute: executed, replay: replayed, mismatch: mismatched, inFlight: conflicted, doubtful: unresolved, unreadable: unresolved,
	}[v]
}

func (h *Handler) report(r *http.Request, o outcome, operation string) {
	h.record(r, o, operation)
	if o != executed {
		h.logger.Info("dry run: a request would not have been carried out",
			zap.Stringer("outcome", o), zap.String("operation", operation), zap.String("method", r.Method))
	}
}

// statusWriter notes the status.
type statusWriter struct {
	*caddyhttp.ResponseWriterWrapper
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 && status >= 200 {
		s.status = status
	}
	s.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *statusWriter) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (s *statusWriter) ReadFrom(r io.Reader) (int64, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriterWrapper.ReadFrom(r)
}
