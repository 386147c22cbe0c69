// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// note notes a refusal, or what would have been one: for those who look for offenders, and in the log.
func (h *Handler) note(r *http.Request, s *scratch, v *verdict) {
	if !v.decided {
		return
	}
	h.tally.offenders.add(s.key, s.ask.Cost)
	if h.striker != nil && v.mode == modeStore { // a proxy's share of a limit is too little to ban anybody by
		h.striker.Strike(r)
	}
	level := zapcore.DebugLevel
	if v.outcome == dryRun && h.tally.loud() { // shows in a log of the default level, at most once a second
		level = zapcore.InfoLevel
	}
	if c := h.logger.Check(level, "a request is over its limit"); c != nil {
		c.Write(zap.String("policy", h.Name), zap.Stringer("outcome", v.outcome), zap.ByteString("key", s.key),
			zap.String("class", v.rule.class), zap.Stringer("window", h.window(s, v)), zap.Duration("retry", s.result.Retry))
	}
}

// window is the one that refused.
func (h *Handler) window(s *scratch, v *verdict) Window {
	w := v.rule.Windows[s.result.Violated]
	return Window{Limit: w.Limit, Period: caddy.Duration(w.Period)}
}

// serveAndGive serves a request that was counted, and gives back what its answer does not cost.
func (h *Handler) serveAndGive(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, s *scratch, v *verdict) (err error) {
	observed := w
	status := &statusWriter{}
	if h.charges != nil {
		status.ResponseWriterWrapper = &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}
		observed = status
	}
	returned := false
	defer func() { // also if a handler panics, as reverse_proxy does when an upstream breaks off
		if h.keeps(status.final(returned, err)) {
			return
		}
		// The client may be gone; what it used is given back all the same. A store that is away forgets by itself.
		if err := v.counter.Give(context.WithoutCancel(r.Context()), &s.ask, &s.result.Receipt); err != nil {
			h.tally.lost.Inc()
		}
	}()
	err = next.ServeHTTP(observed, r)
	returned = true
	return err
}

// keeps reports whether an answer of this status stays counted.
func (h *Handler) keeps(status int) bool {
	return h.Algorithm != Concurrency && (h.charges[status] || h.charges[status/100])
}

// statusWriter notes the status of the final answer.
type statusWriter struct {
	*caddyhttp.ResponseWriterWrapper
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// final is the status that the client gets: what was written, what an error will be answered with, or 200, which writing
// nothing amounts to. It is 0 if a handler panicked before it answered.
func (w *statusWriter) final(returned bool, err error) int {
	var handlerErr caddyhttp.HandlerError
	switch {
	case w.status != 0 || !returned:
		return w.status
	case errors.As(err, &handlerErr) && handlerErr.StatusCode != 0:
		return handlerErr.StatusCode
	case err != nil:
		return http.StatusInternalServerError
	}
	return http.StatusOK
}
