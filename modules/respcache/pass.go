// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// forwardUnsafe passes a request that is not for the cache, and makes invalid what it may have changed: RFC 9111 section 4.4.
func (h *Handler) forwardUnsafe(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *query) error {
	watch := &watcher{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		status:                &cacheStatus{fwd: fwdMethod},
	}
	before := w.Header().Clone()
	requested := time.Now()
	watch.seen = func(status int, header http.Header) {
		if invalidates(q.method, status) {
			h.invalidate(r, q, header)
		}
		if q.method == http.MethodPost && status == http.StatusOK {
			watch.keeps = h.keepPost(r, q, response{status, header, requested, time.Now()}, before)
		}
	}
	h.done(r, outcomeUnsafe)
	defer func() { watch.keeps.drop() }() // also if the next handler panics
	err := next.ServeHTTP(watch, r)
	if err == nil {
		watch.keeps.finish()
	}
	return err
}

// invalidate forgets the answers of a URI, those that its answer names, and those of the groups it names: RFC 9111 section 4.4
// and RFC 9875 section 3.
func (h *Handler) invalidate(r *http.Request, q *query, header http.Header) {
	extra := h.extraKey(r)
	targets := []target{q.target}
	if u, err := url.Parse(q.target.base()); err == nil {
		for _, also := range alsoInvalidated(u, header) {
			targets = append(targets, targetOfURL(also))
		}
	}
	for i := range targets {
		key := targets[i].key(h.query, &h.cache.searches, extra)
		h.cache.invalidate(key)
		if targets[i].rewritten = ""; targets[i].key(h.query, &h.cache.searches, extra) != key {
			h.cache.invalidate(targets[i].key(h.query, &h.cache.searches, extra))
		}
	}
	for _, group := range groupsOf(header["Cache-Group-Invalidation"]) {
		h.cache.purge(Purge{Kind: PurgeGroup, Value: groupName(&q.target, group)})
	}
}

// bypass passes a request that is not for the cache, as if there were none.
func (h *Handler) bypass(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, why string) error {
	h.done(r, outcomeBypass)
	return next.ServeHTTP(&watcher{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		status:                &cacheStatus{fwd: fwdBypass, detail: why},
	}, r)
}

// watcher adds Cache-Status to an answer that passes.
type watcher struct {
	*caddyhttp.ResponseWriterWrapper
	status *cacheStatus
	seen   func(status int, header http.Header)
	told   bool
	keeps  *posted // what is stored beside; nil for nothing
}

// WriteHeader implements http.ResponseWriter.
func (w *watcher) WriteHeader(status int) {
	if !w.told && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.told = true
		h := w.Header()
		w.status.fwdStatus = status
		h["Cache-Status"] = append(slices.Clone(h["Cache-Status"]), w.status.String())
		if w.seen != nil {
			w.seen(status, h)
		}
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// ReadFrom keeps the way of io.Copy open to the connection.
func (w *watcher) ReadFrom(r io.Reader) (int64, error) {
	if !w.told {
		w.WriteHeader(http.StatusOK)
	}
	if w.keeps != nil { // which have to see it
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements the interface that http.ResponseController looks for: a flush sends the header.
func (w *watcher) FlushError() error {
	if !w.told {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Write implements http.ResponseWriter.
func (w *watcher) Write(p []byte) (int, error) {
	if !w.told {
		w.WriteHeader(http.StatusOK)
	}
	w.keeps.write(p)
	return w.ResponseWriterWrapper.Write(p)
}
