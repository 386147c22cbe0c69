// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// PurgeForTest purges as the admin endpoint does.
func PurgeForTest(app any, p Purge) error {
	if err := p.check(); err != nil {
		return err
	}
	return app.(*App).purge(context.Background(), []Purge{p})
}

// PoisonForTest overwrites the memory of bodies when it is given back, so that a reader that comes too late is found out.
func PoisonForTest(h *Handler) {
	h.cache.memory.arena.mu.Lock()
	defer h.cache.memory.arena.mu.Unlock()
	h.cache.memory.arena.poison = true
}

// FetchForTest asks upstream as a request does that has found nothing stored.
func FetchForTest(h *Handler, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	q := &query{method: r.Method, header: r.Header, target: targetOf(r), directives: noDirectives(), unknown: true}
	q.key = q.target.key(h.query, &h.cache.searches, "")
	return h.fetch(w, r, next, &request{query: q, fwd: fwdURIMiss})
}

// FillsForTest counts the requests that wait for fills, or read from them, which others lead, and the fills whose own client has
// left.
func FillsForTest() (followers, left int) {
	caches.Range(func(_, value any) bool {
		table := &value.(*cache).fills
		table.mu.Lock()
		defer table.mu.Unlock()
		for _, f := range table.flights {
			followers += int(f.followers.Load())
			if f.left.Load() {
				left++
			}
		}
		return true
	})
	return followers, left
}

// SweepForTest reclaims memory, and tells how many bytes of bodies and of the store's budget are held, and how many items.
func SweepForTest(h *Handler) (bytes, items int64) {
	h.cache.sweep()
	f := h.cache.store.Figures()
	return h.cache.memory.arena.inUse.Load() + h.cache.memory.inFlight.Load() + f.Held, f.Items
}
