// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// refresh gets a new answer in the background for a stale one that is being used, RFC 5861 section 3. It returns what
// Cache-Status tells about it.
func (h *Handler) refresh(r *http.Request, next caddyhttp.Handler, q *query, o *object, plan reuse) string {
	c, background := h.cache, *q
	if o.partial() { // all of it, whichever range of it is asked for
		background.part = "bytes=" + strconv.FormatInt(o.first, 10) + "-" + strconv.FormatInt(o.first+o.length-1, 10)
	}
	f, leads := c.fills.join(flightOf(&background, o.vary), c.generations.number.Load())
	if !leads {
		f.leave()
		return "refreshing"
	}
	if c.refreshing.Add(1) > maxRefreshes || !o.acquire() {
		c.refreshing.Add(-1)
		f.settle(notShared)
		c.fills.remove(f)
		counters().refreshesRefused.Inc()
		return "refresh-later"
	}
	ctx, cancel := context.WithTimeout(context.Background(), longestRefresh)
	f.cancel = cancel
	clone := detached(ctx, r)
	background.header, background.method = clone.Header, http.MethodGet
	go func() {
		defer c.refreshing.Add(-1)
		defer cancel()
		defer o.release()
		l := h.newLead(nil, clone, &background, f, fwdStale)
		l.ctx, l.stale, l.reuse = ctx, o, plan
		counters().refreshes.WithLabelValues(h.runRefresh(l, next)).Inc()
	}()
	return "refreshing"
}

// runRefresh asks the upstream in the background and returns how that went.
func (h *Handler) runRefresh(l *lead, next caddyhttp.Handler) (result string) {
	defer func() {
		if recover() != nil { // an upstream that broke off
			result = "failed"
		}
	}()
	defer h.endFill(l)
	err := l.ask(next, l.upstreamRequest(l.r.Context()))
	if l.mode == again {
		l.restart()
		err = l.ask(next, l.upstreamRequest(l.r.Context()))
	}
	if err := l.complete(err); err != nil || l.f.object == nil {
		return "failed"
	}
	return "done"
}

// detached is a copy of a request that is independent of the client's: its context, its placeholders and its variables end
// with the request, and are not safe to share.
func detached(ctx context.Context, r *http.Request) *http.Request {
	old := r.Context()
	clone := r.Clone(ctx)
	clone.Body, clone.Method = http.NoBody, http.MethodGet
	server, _ := old.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		server = new(caddyhttp.Server)
	}
	clone = caddyhttp.PrepareRequest(clone, caddy.NewReplacer(), discardWriter{}, server)
	if vars, ok := old.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		for name, value := range vars {
			caddyhttp.SetVar(clone.Context(), name, value)
		}
	}
	if original, ok := old.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		if original.URL != nil {
			u := *original.URL
			original.URL = &u
		}
		clone = clone.WithContext(context.WithValue(clone.Context(), caddyhttp.OriginalRequestCtxKey, original))
	}
	return clone
}

// discardWriter stands where placeholders expect the client's writer.
type discardWriter struct{}

func (discardWriter) Header() http.Header         { return http.Header{} }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(int)             {}
