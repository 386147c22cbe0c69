// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// forward passes a request on while the store is away. Its retries are carried out, too; but each is sent once, and not
// again by a transport that takes a request with a key for repeatable.
func (h *Handler) forward(w http.ResponseWriter, op *operation) error {
	w.Header().Set("Idempotency-Status", "unprotected")
	g := guard{hasContent: op.hasContent()}
	ctx := g.watch(op.r.Context())
	defer g.end()
	out := &vetoWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, guard: &g}
	err := op.next.ServeHTTP(out, restore(op.r, op.body).WithContext(ctx))
	if !g.vetoed.Load() {
		return err
	}
	metrics().vetoes.Inc()
	if !out.muted {
		return err
	}
	return h.refuse(w, op.r, h.problems.broken, "The request was sent and its answer did not arrive: it may or may not have taken "+
		"effect. While idempotency keys cannot be checked, a retry is carried out.", nil)
}

// vetoWriter keeps reverse_proxy from telling that the client has left, which it takes a second dispatch that the guard
// prevented for.
type vetoWriter struct {
	*caddyhttp.ResponseWriterWrapper
	guard *guard
	muted bool
}

// WriteHeader implements http.ResponseWriter.
func (v *vetoWriter) WriteHeader(status int) {
	if status == statusClientGone && v.guard.vetoed.Load() {
		v.muted = true
		return
	}
	v.ResponseWriterWrapper.WriteHeader(status)
}
