// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"net/http"
	"sync/atomic"
)

// counts are a listener's totals since it was made.
type counts struct {
	requests, failed, stalled, reset, truncated, refused, abandoned atomic.Int64
}

// Stats is what a listener has done and is doing. Endpoints that only steer or observe are not counted.
type Stats struct {
	// Name of the listener.
	Name string `json:"name"`
	// Requests that arrived.
	Requests int64 `json:"requests"`
	// Requests that a worker is busy with now.
	InFlight int `json:"in_flight"`
	// The most that were ever in flight at once.
	MostInFlight int `json:"most_in_flight"`
	// Requests that wait for a worker now.
	Queued int `json:"queued"`
	// SSE and WebSocket streams that are open now.
	Streams int `json:"streams"`
	// Requests answered with error_status.
	Failed int64 `json:"failed"`
	// Responses held back after their effect.
	Stalled int64 `json:"stalled"`
	// Connections reset after the effect.
	Reset int64 `json:"reset"`
	// Bodies cut in the middle.
	Truncated int64 `json:"truncated"`
	// Requests that got no worker: the queue was full, or ten minutes had passed.
	Refused int64 `json:"refused"`
	// Requests whose client left before they were worked on.
	Abandoned int64 `json:"abandoned"`
}

// Stats reports the totals and the present load.
func (l *Listener) Stats() Stats {
	busy, most, queued := l.workers.load()
	return Stats{
		Name:         l.name,
		Requests:     l.counts.requests.Load(),
		InFlight:     busy,
		MostInFlight: most,
		Queued:       queued,
		Streams:      l.streams.open(),
		Failed:       l.counts.failed.Load(),
		Stalled:      l.counts.stalled.Load(),
		Reset:        l.counts.reset.Load(),
		Truncated:    l.counts.truncated.Load(),
		Refused:      l.counts.refused.Load(),
		Abandoned:    l.counts.abandoned.Load(),
	}
}

func (l *Listener) serveStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, l.Stats())
}
