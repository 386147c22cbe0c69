// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"sync"
	"time"
)

// watchAfter is how long a response body may be open before its request's end is watched.
const watchAfter = time.Second

// openBodies are the attempts at one upstream whose response body is open, in the order of their answers.
//
// The end of an attempt is where its body is closed. A handler that panics between response and body never does that, so
// the end of the request must count as well. To watch a request's context costs as much as everything else that is done
// for an attempt together, and hardly any body is open for a second: so attempts wait here, and only those that stay are
// watched, when a later attempt or a reader of the figures comes by.
type openBodies struct {
	mu          sync.Mutex // guards what follows, and the neighbors and unwatch of the attempts in here
	first, last *attempt
	settled     time.Time // when those that had stayed were last watched
}

// add appends an attempt that was just answered.
func (o *openBodies) add(a *attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := a.outcome.at; now.Sub(o.settled) >= watchAfter {
		o.settle(now.Add(-watchAfter))
		o.settled = now
	}
	a.older = o.last
	if o.last == nil {
		o.first = a
	} else {
		o.last.newer = a
	}
	o.last = a
	a.waiting = true
}

// remove takes an attempt out whose body is being closed.
func (o *openBodies) remove(a *attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.waiting {
		o.unlink(a)
		return
	}
	if a.unwatch != nil { // else it is closed once more
		a.unwatch()
	}
}

// settleAll watches all attempts, so that those whose requests have ended are over in a moment.
func (o *openBodies) settleAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settle(time.Now())
}

// settle watches the attempts that were answered until then: each ends with its request from now on.
func (o *openBodies) settle(until time.Time) {
	for a := o.first; a != nil && !a.outcome.at.After(until); a = o.first {
		o.unlink(a)
		a.unwatch = context.AfterFunc(a.ctx, a.finish)
	}
}

func (o *openBodies) unlink(a *attempt) {
	if a.older == nil {
		o.first = a.newer
	} else {
		a.older.newer = a.newer
	}
	if a.newer == nil {
		o.last = a.older
	} else {
		a.newer.older = a.older
	}
	a.older, a.newer, a.waiting = nil, nil, false
}
