// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"io"
	"maps"
	"net/http"
	"sync"
)

// maxKey is the longest key of an order in bytes.
const maxKey = 255

// orders counts how often each key took effect: the witness for retries, replays and idempotency. A key is counted
// before the response begins, so an effect whose response was lost still shows.
type orders struct {
	maxKeys int

	mu    sync.Mutex // guards what follows
	byKey map[string]int64
	total int64
}

func newOrders(maxKeys int) *orders {
	return &orders{maxKeys: maxKeys, byKey: make(map[string]int64)}
}

// effect counts one. It reports false, and counts nothing, if key is new and there is no room.
func (o *orders) effect(key string) (n int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, known := o.byKey[key]
	if !known && len(o.byKey) >= o.maxKeys {
		return 0, false
	}
	o.total++
	o.byKey[key] = n + 1
	return n + 1, true
}

func (o *orders) effects(key string) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.byKey[key]
}

// order is the answer to an effect.
type order struct {
	Key     string `json:"key"`
	Effects int64  `json:"effects"` // of this key so far, this one included
}

// ordersReport is the answer to GET /orders.
type ordersReport struct {
	Total      int64            `json:"total"`      // effects of all keys
	Keys       int              `json:"keys"`       // different keys
	Duplicates int              `json:"duplicates"` // keys that took effect more than once
	Orders     map[string]int64 `json:"orders"`     // effects by key
}

func (o *orders) report() ordersReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := ordersReport{Total: o.total, Keys: len(o.byKey), Orders: maps.Clone(o.byKey)}
	for _, n := range o.byKey {
		if n > 1 {
			r.Duplicates++
		}
	}
	return r
}

// serveEffect reads the whole body first: a request that broke off takes no effect.
func (o *orders) serveEffect(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		badBody(w, err)
		return
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		key = r.URL.Query().Get("key")
	}
	if len(key) > maxKey {
		http.Error(w, "the key is longer than 255 bytes", http.StatusBadRequest)
		return
	}
	n, ok := o.effect(key)
	if !ok {
		http.Error(w, "the effect counter is full", http.StatusInsufficientStorage)
		return
	}
	writeJSON(w, http.StatusCreated, order{Key: key, Effects: n})
}

// serveReport answers for all keys, or for the one in ?key.
func (o *orders) serveReport(w http.ResponseWriter, r *http.Request) {
	if q := r.URL.Query(); q.Has("key") {
		writeJSON(w, http.StatusOK, order{Key: q.Get("key"), Effects: o.effects(q.Get("key"))})
		return
	}
	writeJSON(w, http.StatusOK, o.report())
}

func (o *orders) serveReset(w http.ResponseWriter, _ *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.byKey)
	o.total = 0
	w.WriteHeader(http.StatusNoContent)
}
