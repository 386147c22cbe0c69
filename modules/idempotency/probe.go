// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// probeTimeout bounds a probe: a client waits for it.
const probeTimeout = 10 * time.Second

// probe asks the application what became of an operation whose outcome is unknown, and resolves the record by what it says.
// It reports whether the record was resolved.
func (h *Handler) probe(op *operation, rec Record) bool {
	ledger, ok := h.store.(Ledger)
	if !ok {
		return false
	}
	found, err := h.lookUp(op)
	if err == nil {
		err = h.resolve(ledger, rec, found)
	}
	if err != nil && !errors.Is(err, ErrFenced) { // resolved by another meanwhile
		h.logger.Warn("a probe did not settle an operation whose outcome is unknown",
			zap.String("operation", rec.ID), zap.Error(err))
		return false
	}
	return true
}

// lookUp sends the probe through the handlers behind. A nil answer without an error says that nothing happened.
func (h *Handler) lookUp(op *operation) (*answer, error) {
	target, err := url.ParseRequestURI(replacerOf(op.r).ReplaceAll(h.Probe, ""))
	if err != nil {
		return nil, fmt.Errorf("the probe's path: %w", err)
	}
	ctx, cancel := context.WithTimeout(op.r.Context(), probeTimeout)
	defer cancel()
	r := op.r.Clone(ctx)
	r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery = http.MethodGet, target.Path, target.RawPath, target.RawQuery
	r.RequestURI, r.Body, r.ContentLength, r.TransferEncoding = target.RequestURI(), http.NoBody, 0, nil
	for _, name := range []string{h.Header, "Content-Type", "Content-Length", "Content-Encoding", "Expect", "Upgrade", "Connection"} {
		r.Header.Del(name)
	}
	x := &exchange{rec: newRecorder(discard{http.Header{}}, h.MaxResponse)}
	defer x.rec.free()
	x.ask(op, fresh(r))
	switch {
	case x.panicked != nil:
		return nil, fmt.Errorf("the answer broke off: %v", x.panicked)
	case x.err != nil:
		return nil, x.err
	case x.rec.status == http.StatusNotFound:
		return nil, nil
	case x.rec.status >= 200 && x.rec.status < 300 && x.rec.complete():
		return x.keep(h, false), nil
	}
	return nil, fmt.Errorf("the application answered %d", x.rec.status)
}

func (x *exchange) ask(op *operation, r *http.Request) {
	defer func() { x.panicked = recover() }()
	x.err = op.next.ServeHTTP(x.rec, r)
}

// fresh gives the probe a replacer, variables and route groups of its own: groups that the request used up (`handle` is one)
// would keep its routes from matching.
func fresh(r *http.Request) *http.Request {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), discard{http.Header{}}, server)
	if own, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		maps.Copy(own, vars)
	}
	return r
}

func (h *Handler) resolve(ledger Ledger, rec Record, found *answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(h.StoreTimeout))
	defer cancel()
	resolution := Resolution{ID: rec.ID, Fence: rec.Fence, Retention: milliseconds(h.TTL)}
	if found != nil {
		resolution.Answer = h.keys.seal(rec.ID, found.encode())
	}
	return ledger.Resolve(ctx, resolution)
}

// discard is a client that is not there.
type discard struct{ header http.Header }

// Header implements http.ResponseWriter.
func (d discard) Header() http.Header { return d.header }

// WriteHeader implements http.ResponseWriter.
func (discard) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (discard) Write(p []byte) (int, error) { return len(p), nil }
