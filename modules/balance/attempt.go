// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// attempt is one request to one upstream, from sending it until the response body is closed. It stands in for that body,
// as that is where the end is seen.
type attempt struct {
	observer *observer
	upstream *upstream
	ctx      context.Context
	began    time.Time
	copied   bool // the request is a copy, whose answer goes to nobody
	outcome  outcome
	estimate estimator.Attempt
	body     io.ReadCloser

	older, newer *attempt    // its neighbors among the upstream's open bodies
	waiting      bool        // it is one of them
	unwatch      func() bool // stops waiting for the context's end; set when it no longer is

	broken atomic.Bool // reading the body failed
	whole  atomic.Bool // it was read to its end
	over   atomic.Bool

	faulty atomic.Bool // the request itself is: its body broke off, or its header cannot be sent
}

func (a *attempt) start() {
	a.upstream.inFlight.Add(1)
	a.upstream.used.Store(a.began.UnixNano())
	a.observer.estimation.begin(a)
}

// canceled reports whether it was the client that ended the attempt, or its request that no upstream could have answered.
func (a *attempt) canceled() bool {
	return errors.Is(a.ctx.Err(), context.Canceled) || a.faulty.Load()
}

// brokeOff reports whether the response body ended before its end.
func (a *attempt) brokeOff() bool { return a.broken.Load() }

// answer classifies the response or error.
func (a *attempt) answer(res *http.Response, err error) {
	now := time.Now()
	a.outcome = outcome{at: now, elapsed: now.Sub(a.began)}
	switch {
	case err == nil:
		a.outcome.status = res.StatusCode
		a.outcome.failed = res.StatusCode >= http.StatusInternalServerError
	case a.canceled():
		a.outcome.canceled = true
	default:
		a.outcome.failed = true
	}
	if err == nil {
		a.observer.estimation.answered(a, res)
	}
	if a.copied {
		a.upstream.copies.Add(1)
		return
	}
	a.upstream.tally.count(a.outcome)
	a.observer.retries.note(a.ctx, a.upstream, err != nil && a.outcome.failed)
}

// finish ends the attempt, the first time that it is called.
func (a *attempt) finish() {
	if !a.over.CompareAndSwap(false, true) {
		return
	}
	a.upstream.inFlight.Add(-1)
	switch {
	case a.whole.Load() && !a.faulty.Load(): // who leaves now has the answer
	case a.canceled():
		a.outcome.canceled = !a.outcome.failed
	case a.brokeOff() && !a.outcome.failed:
		a.outcome.failed = true
		if !a.copied {
			a.upstream.tally.broken.Add(1)
		}
	}
	a.observer.estimation.ended(a)
}

// watch returns the body to hand on instead of the transport's. It ends the attempt when it is closed.
func (a *attempt) watch(body io.ReadCloser) io.ReadCloser {
	a.body = body
	a.upstream.open.add(a)
	tunnel, ok := body.(io.ReadWriteCloser)
	if !ok {
		return a
	}
	// A switched protocol (101): the handler writes to the body too, and closes its write half if it has one.
	if half, ok := body.(halfCloser); ok {
		return halfTunnel{openTunnel{a, tunnel}, half}
	}
	return openTunnel{a, tunnel}
}

// Read implements io.Reader.
func (a *attempt) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if n > 0 {
		a.upstream.received.Add(uint64(n))
		a.observer.estimation.received(a, n)
	}
	switch {
	case err == nil:
	case err == io.EOF:
		a.whole.Store(true)
	case a.ctx.Err() == nil:
		a.broken.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (a *attempt) Close() error {
	a.upstream.open.remove(a)
	a.finish() // before closing: a tunnel's other direction then fails to read, which is not the upstream's doing
	return a.body.Close()
}

// halfCloser is a connection that can say "no more from me" and still read.
type halfCloser interface{ CloseWrite() error }

// openTunnel is the attempt of a switched protocol.
type openTunnel struct {
	*attempt
	writer io.Writer
}

// Write implements io.Writer.
func (t openTunnel) Write(p []byte) (int, error) { return t.writer.Write(p) }

// halfTunnel is an openTunnel whose write half can be closed.
type halfTunnel struct {
	openTunnel
	halfCloser
}
