// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package ready tells whoever stands in front of the proxy, a load balancer or keepalived, whether to send it requests.
package ready

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler answers 200 "ready", and 503 "draining" from the moment a drain begins: when the operator asks for one through
// the admin API, when the process begins to exit, or when the listener begins to close in a reload. The process goes on
// serving everything else, so that whoever asks can move its traffic away first; the global option `shutdown_delay` says
// how long an exit waits for that.
//
// It answers GET and HEAD; other methods get 405 (RFC 9110 section 15.5.6). It asks neither the upstreams nor Redis: a
// proxy that is well must stay in rotation when they are not, as its neighbors see the same outage.
type Handler struct {
	drain *drain
	lease lease.Lease
}

// drains holds the process' one drain under drainKey while a config has a ready handler.
var drains = caddy.NewUsagePool()

const drainKey = "drain"

// drain is whether the operator asked for a drain. It outlives reloads.
type drain struct{ asked atomic.Bool }

// Destruct forgets the drain with the last config that has a ready handler.
func (*drain) Destruct() error { return nil }

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ready", New: func() caddy.Module { return new(Handler) }}
}

// Provision takes the process' drain.
func (h *Handler) Provision(caddy.Context) (err error) {
	h.drain, h.lease, err = lease.Take(drains, drainKey, func() (*drain, error) { return new(drain), nil })
	return err
}

// Cleanup gives the drain back.
func (h *Handler) Cleanup() error { return h.lease.Release() }

// ServeHTTP answers; it never calls next.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	header := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		return caddyhttp.HandlerError{StatusCode: http.StatusMethodNotAllowed}
	}
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	status, body := http.StatusOK, "ready\n"
	if h.draining(r) {
		status, body = http.StatusServiceUnavailable, "draining\n"
		header.Set("Connection", "close")
	}
	w.WriteHeader(status)
	_, err := io.WriteString(w, body)
	return err
}

// draining reports whether traffic should go elsewhere.
func (h *Handler) draining(r *http.Request) bool {
	if h.drain.asked.Load() || caddy.Exiting() {
		return true
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	closing, _ := repl.Get("http.shutting_down") // of this listener, during shutdown_delay
	return closing == true
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
