// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// dice is a listener's source of chance. Faults and latencies come from two sources, so that a change of the latency
// leaves the sequence of faults as it was.
type dice struct {
	mu      sync.Mutex // guards both
	faults  *rand.Rand
	latency *rand.Rand
}

// throw is one request's random numbers. All are drawn for every request, used or not, so that turning on one fault
// does not move another.
type throw struct {
	fail, stall, reset, truncate float64 // in [0, 1)
	latency                      time.Duration
}

func (d *dice) throw(latency distribution) throw {
	d.mu.Lock()
	defer d.mu.Unlock()
	return throw{
		fail:     d.faults.Float64(),
		stall:    d.faults.Float64(),
		reset:    d.faults.Float64(),
		truncate: d.faults.Float64(),
		latency:  latency.draw(d.latency),
	}
}

// fate is what will happen to one request.
type fate struct {
	fail     bool // answered with errorStatus and nothing else
	reset    bool
	truncate bool

	errorStatus int
	latency     time.Duration
	stall       time.Duration
}

// decide turns chance into a fate. A failure leaves nothing to reset, a reset nothing to truncate.
func decide(s Settings, t throw) fate {
	if t.fail < s.ErrorRate {
		return fate{fail: true, errorStatus: s.ErrorStatus}
	}
	f := fate{latency: t.latency}
	if t.stall < s.StallRate {
		f.stall = time.Duration(s.Stall)
	}
	f.reset = t.reset < s.ResetAfterEffectRate
	f.truncate = !f.reset && t.truncate < s.TruncateRate
	return f
}

// faulty wraps an endpoint so that it meets the listener's settings. One that streams takes no worker, or a handful of
// open event streams would stop a listener of four workers.
func (l *Listener) faulty(endpoint http.HandlerFunc, streams bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l.counts.requests.Add(1)
		st := l.state.Load()
		f := decide(st.settings, l.dice.throw(st.latency))
		if err := l.thaw(r.Context()); err != nil {
			l.giveUp(w, err)
			return
		}
		if f.fail {
			l.counts.failed.Add(1)
			http.Error(w, "injected error", f.errorStatus)
			return
		}
		if !streams {
			if err := l.workers.enter(r.Context()); err != nil {
				l.giveUp(w, err)
				return
			}
			defer l.workers.leave()
		}
		if err := sleep(r.Context(), f.latency); err != nil {
			l.giveUp(w, err)
			return
		}
		fw := &faultWriter{ResponseWriter: w, listener: l, request: r, fate: f}
		endpoint(fw, r)
		fw.start(http.StatusOK)
	}
}

// giveUp answers a request that was never worked on. Mostly nobody reads it: the client is gone.
func (l *Listener) giveUp(w http.ResponseWriter, err error) {
	if errors.Is(err, errQueueFull) || errors.Is(err, errQueueTime) {
		l.counts.refused.Add(1)
		w.Header().Set("Retry-After", "1")
	} else {
		l.counts.abandoned.Add(1)
	}
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

// thaw waits while the listener is frozen. The freeze may be lifted or made longer meanwhile.
func (l *Listener) thaw(ctx context.Context) error {
	for {
		st := l.state.Load()
		if st.thawAt.IsZero() {
			return nil
		}
		left := time.Until(st.thawAt)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-st.replaced:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}

// faultWriter carries out the part of a fate that lies between the effect and the end of the response. The endpoints
// write nothing before their effect, so the first byte is where a stall or a reset belongs.
type faultWriter struct {
	http.ResponseWriter
	listener *Listener
	request  *http.Request
	fate     fate

	started bool
	cutting bool
	left    int64 // bytes to the cut, if cutting
}

// Unwrap lets http.ResponseController and the WebSocket upgrade reach the connection.
func (w *faultWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *faultWriter) WriteHeader(status int) { w.start(status) }

// FlushError implements the method that http.ResponseController looks for.
func (w *faultWriter) FlushError() error {
	w.start(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// start sends the header once, after what stands before it. A client that leaves in the meantime gets nothing.
func (w *faultWriter) start(status int) {
	if w.started {
		return
	}
	w.started = true
	if w.fate.stall > 0 {
		w.listener.counts.stalled.Add(1)
		w.orAbort(sleep(w.request.Context(), w.fate.stall))
	}
	w.orAbort(w.listener.thaw(w.request.Context()))
	if w.fate.reset {
		w.listener.counts.reset.Add(1)
		w.reset()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. A cut falls in the middle of Content-Length, or of the first piece of a body
// without one.
func (w *faultWriter) Write(p []byte) (int, error) {
	if w.fate.truncate && !w.cutting && len(p) > 0 && w.request.Method != http.MethodHead {
		w.cutting = true
		w.left = contentLength(w.Header(), int64(len(p))) / 2
	}
	w.start(http.StatusOK)
	w.orAbort(w.listener.thaw(w.request.Context()))
	if !w.cutting {
		return w.ResponseWriter.Write(p)
	}
	if int64(len(p)) <= w.left {
		w.left -= int64(len(p))
		return w.ResponseWriter.Write(p)
	}
	w.listener.counts.truncated.Add(1)
	if _, err := w.ResponseWriter.Write(p[:w.left]); err != nil {
		return 0, err
	}
	// What is buffered has to arrive, or this would look like a reset.
	w.orAbort(http.NewResponseController(w.ResponseWriter).Flush())
	panic(http.ErrAbortHandler)
}

// reset closes the connection so that the client sees RST instead of an orderly end. Where the connection cannot be
// had (HTTP/2, a recorder), aborting the handler comes closest.
func (w *faultWriter) reset() {
	if conn, _, err := http.NewResponseController(w.ResponseWriter).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a failure leaves an orderly close, still without a response
		}
		_ = conn.Close() // nothing can be told to a client whose connection was to be broken
	}
	panic(http.ErrAbortHandler)
}

// orAbort ends the request without a further byte.
func (w *faultWriter) orAbort(err error) {
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}
