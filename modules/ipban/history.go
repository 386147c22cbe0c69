// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"
	"sync"
	"time"
)

// history is what is remembered of clients' earlier bans, for those to come to be longer. It is bounded by a number of
// clients; where there is no room, of a few the one goes that would be forgotten first.
type history struct {
	mu   sync.Mutex
	past map[netip.Prefix]past
}

// past is how many bans a client had, as far as they are remembered.
type past struct {
	level int
	until int64 // Unix time in nanoseconds, from which on it is forgotten
}

// of returns what is remembered of a client.
func (h *history) of(client netip.Prefix, now time.Time) past {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.past[client]; p.until > now.UnixNano() {
		return p
	}
	return past{}
}

// note takes in changes of the list. A ban that is made without a history, as an operator's, leaves the client's as it is,
// and what is lifted counts for nothing.
func (h *history) note(changes []Change, now time.Time, limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range changes {
		until := toNano(c.Remembered)
		switch {
		case c.Lift:
			delete(h.past, c.Prefix)
		case c.Level > 0 && until > now.UnixNano():
			h.put(c.Prefix, past{c.Level, until}, limit)
		}
	}
}

// keep has bans that are made without a history carry the client's, so that recording them loses none.
func (h *history) keep(changes []Change, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.past) == 0 {
		return
	}
	for i, c := range changes {
		if p := h.past[c.Prefix]; !c.Lift && c.Level == 0 && p.until > now.UnixNano() {
			changes[i].Level, changes[i].Remembered = p.level, fromNano(p.until)
		}
	}
}

// put remembers a client. The caller holds mu.
func (h *history) put(client netip.Prefix, p past, limit int) {
	if h.past == nil {
		h.past = map[netip.Prefix]past{}
	}
	if _, known := h.past[client]; !known && len(h.past) >= limit {
		h.evict()
	}
	h.past[client] = p
}

// evict forgets one client of a few, the one that would be forgotten first. The caller holds mu.
func (h *history) evict() {
	var first netip.Prefix
	looked := 0
	for client, p := range h.past { // begins at a random place
		if looked == 0 || p.until < h.past[first].until {
			first = client
		}
		if looked++; looked == sampled {
			break
		}
	}
	delete(h.past, first)
}

// adopt makes fresh the history.
func (h *history) adopt(fresh *history) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.past = fresh.past
}

// sweep forgets whom it is time to forget.
func (h *history) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for client, p := range h.past {
		if p.until <= now.UnixNano() {
			delete(h.past, client)
		}
	}
}

// size is how many clients are remembered.
func (h *history) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.past)
}
