// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// outcome is what became of a fill, as far as those who wait for it are concerned.
type outcome uint8

const (
	notShared outcome = iota // each has to ask for itself
	streaming                // the answer comes in; its header proves that it may be shared
	finished                 // it is a stored object, which the origin has just confirmed
	failed                   // the upstream gave an error instead of an answer
)

// fill is one request to the upstream, for which others may wait.
type fill struct {
	flight  flight // its key in the table; zero if nobody may join
	key     string
	began   uint64      // number of the last purge when it began
	invalid atomic.Bool // an unsafe request has made its answer invalid

	ready   chan struct{} // closed when the rest of this block is known
	outcome outcome
	object  *object // with a reference of the fill's own until done
	stream  *stream // of streaming
	stored  bool    // the answer is going to be stored
	err     error   // of failed

	followers atomic.Int32
	left      atomic.Bool // the client that began it is gone
	cancel    context.CancelFunc
}

// fillTable holds the fills that may be waited for, until their answers are found in the store.
type fillTable struct {
	mu      sync.Mutex
	flights map[flight]*fill   // that may be joined
	others  map[*fill]struct{} // that may not
}

// join returns the fill for a flight, to be left with leave, or begins one.
func (t *fillTable) join(fl flight, began uint64) (f *fill, leads bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f = t.flights[fl]
	if f != nil && f.began >= began {
		f.followers.Add(1)
		return f, false
	}
	// One that began before a purge is not joined any more, but it still runs.
	if f != nil {
		t.others[f] = struct{}{}
	}
	f = newFill(fl.key, fl, began)
	t.flights[fl] = f
	return f, true
}

// alone begins a fill that nobody may join; it is in the table to be found by invalidations.
func (t *fillTable) alone(key string, began uint64) *fill {
	f := newFill(key, flight{}, began)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.others[f] = struct{}{}
	return f
}

func newFill(key string, fl flight, began uint64) *fill {
	return &fill{flight: fl, key: key, began: began, ready: make(chan struct{})}
}

// invalidate makes the answers of all fills of a key invalid, save one: they are neither stored nor joined.
func (t *fillTable) invalidate(key string, save *fill) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for fl, f := range t.flights {
		if f.key == key {
			f.invalid.Store(true)
			delete(t.flights, fl)
			t.others[f] = struct{}{}
		}
	}
	for f := range t.others {
		if f.key == key && f != save {
			f.invalid.Store(true)
		}
	}
}

// remove ends that a fill can be joined.
func (t *fillTable) remove(f *fill) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.others, f)
	if t.flights[f.flight] == f {
		delete(t.flights, f.flight)
	}
}

func (t *fillTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.flights) + len(t.others)
}

// leave ends that somebody waits for the fill. Nobody may be left to want it.
func (f *fill) leave() {
	if f.followers.Add(-1) == 0 && f.left.Load() {
		f.abandon()
	}
}

// abandon stops the upstream's work if nobody wants it: the client that began it is gone, nobody waits, and it is not known to be
// worth storing.
func (f *fill) abandon() {
	f.left.Store(true)
	if f.followers.Load() > 0 {
		return
	}
	select {
	case <-f.ready:
		if f.stored { // it is worth waiting for, as long as it would be stored
			time.AfterFunc(longestFill, func() {
				if f.followers.Load() == 0 {
					f.cancel()
				}
			})
			return
		}
	default:
	}
	f.cancel()
}

// settle tells those who wait. It is called once.
func (f *fill) settle(o outcome) {
	f.outcome = o
	close(f.ready)
}

// settled reports whether those who wait have been told.
func (f *fill) settled() bool {
	select {
	case <-f.ready:
		return true
	default:
		return false
	}
}

// flight names the fill that a request may wait for: the key with everything that is known to select its answer.
type flight struct {
	key      string
	accepted codings
	part     string
	fields   string // those of Vary, if the key has had an answer with one, with the request's values
}

func flightOf(q *query, fields []varyField) flight {
	fl := flight{key: q.key, accepted: q.accepted, part: q.part}
	if len(fields) == 0 {
		return fl
	}
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(keySeparator)
		b.WriteString(f.name)
		b.WriteByte('=')
		b.WriteString(normalizeField(f.name, q.header[f.name]))
	}
	fl.fields = b.String()
	return fl
}

// query is one request as the cache sees it.
type query struct {
	target     target
	key        string
	method     string
	header     http.Header // of the client
	accepted   codings
	directives directives
	dry        string // what a dry run would have done; empty if it is none
	part       string // the Range that the origin is asked for; empty for the whole
	unknown    bool   // nothing was stored under the key when that was looked for
}
