// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"sync"
	"time"
)

// watchAfter is how long a response body may be open before its request's end is watched; at the latest after twice as long.
const watchAfter = time.Second

// openBodies are the attempts at one upstream whose response body is open, in the order of their answers, save those that
// are watched.
//
// The end of an attempt is where its body is closed. A handler that panics between response and body never does that, so
// the end of the request must count as well. To watch a request's context costs as much as everything else that is done
// for an attempt together, and hardly any body is open for a second: so attempts wait here, and a timer that fires once a
// second at most has those watched that stay.
type openBodies struct {
	mu          sync.Mutex // guards what follows, and the neighbors and unwatch of the attempts in here
	first, last *attempt
	timed       bool // settle is going to be called
}

// add appends an attempt that was just answered.
func (o *openBodies) add(a *attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a.older = o.last
	if o.last == nil {
		o.first = a
	} else {
		o.last.newer = a
	}
	o.last = a
	a.waiting = true
	if !o.timed {
		o.timed = true
		time.AfterFunc(watchAfter, o.settle)
	}
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

// settle watches the attempts that have been open for long: each ends with its request from now on.
func (o *openBodies) settle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	until := time.Now().Add(-watchAfter)
	for a := o.first; a != nil && !a.outcome.at.After(until); a = o.first {
		o.unlink(a)
		a.unwatch = context.AfterFunc(a.ctx, a.finish)
	}
	if o.timed = o.first != nil; o.timed {
		time.AfterFunc(watchAfter, o.settle)
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
