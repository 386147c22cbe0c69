// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// books holds every book that a running config uses.
var books = caddy.NewUsagePool()

// book stands for the estimates of one policy with one set of parameters. Whichever handlers and configs use that policy
// with these parameters share them, so an upstream's estimate survives reloads, also rejected ones. The estimates
// themselves are kept by the upstreams, and go with the last config that uses the book.
type book struct {
	registry *registry
	policy   string
	params   estimator.Params
	epoch    time.Time // of the estimates' clock, which does not go back
	closed   bool      // guarded by the registry's mu
}

// entry is an upstream's estimate in one book.
type entry struct {
	book     *book
	estimate *estimator.Upstream
}

// openBook returns the book of a policy with these parameters. What only choices go by makes no other book, so that a
// reload may change it and lose nothing.
func (r *registry) openBook(policy string, p estimator.Params) (*book, lease.Lease, error) {
	p.Band, p.Explore, p.ZoneSpill, p.MaxEjected, p.Panic, p.Sample = 0, 0, 0, 0, 0, 0
	key := fmt.Sprintf("%s %+v", policy, p)
	return lease.Take(books, key, func() (*book, error) {
		return &book{registry: r, policy: policy, params: p, epoch: time.Now()}, nil
	})
}

// at is a time on the estimates' clock.
func (b *book) at(t time.Time) int64 { return int64(t.Sub(b.epoch)) }

// now is the present time on the estimates' clock.
func (b *book) now() int64 { return int64(time.Since(b.epoch)) }

// Destruct implements caddy.Destructor: the last config that used the book is gone.
func (b *book) Destruct() error {
	b.registry.mu.Lock()
	defer b.registry.mu.Unlock()
	b.closed = true
	for _, u := range b.registry.upstreams {
		kept := slices.Clone(u.entries())
		kept = slices.DeleteFunc(kept, func(e entry) bool {
			if e.book == b {
				u.pastEjections.Add(uint64(e.estimate.Snapshot(b.now()).Ejections))
			}
			return e.book == b
		})
		u.estimates.Store(&kept)
	}
	return nil
}

// entries returns the upstream's estimates in all books. The slice must not be changed.
func (u *upstream) entries() []entry {
	if list := u.estimates.Load(); list != nil {
		return *list
	}
	return nil
}

// estimate returns the upstream's estimate in a book, making it if needed.
func (u *upstream) estimate(b *book) *estimator.Upstream {
	for _, e := range u.entries() {
		if e.book == b {
			return e.estimate
		}
	}
	b.registry.mu.Lock()
	defer b.registry.mu.Unlock()
	for _, e := range u.entries() {
		if e.book == b {
			return e.estimate
		}
	}
	made := estimator.New(b.params)
	if !b.closed { // else a request outlives its config: nobody would remove the entry
		list := append(slices.Clone(u.entries()), entry{b, made})
		u.estimates.Store(&list)
	}
	return made
}

// ramp has the upstream's share grow from almost nothing again, in all estimates: it is back, and may be cold.
func (u *upstream) ramp() {
	for _, e := range u.entries() {
		e.estimate.StartRamp(e.book.now())
	}
}

// estimation is how the attempts of one handler enter its policy's estimates. Its methods may be called on nil, which is
// what a handler has whose policy does not estimate.
type estimation struct {
	book *book
	// failureStatus are the statuses that count as failures, or their classes, as caddyhttp.StatusCodeMatches has them.
	failureStatus []int
	// bytes says that the policy wants to know of every read of a body.
	bytes bool
}

// estimateBy has the observer's attempts enter the estimates. A handler's attempts can enter one book only: two policies
// that eject, one around the other, would each see but a part of the truth.
func (o *observer) estimateBy(e *estimation) error {
	if o.estimation != nil {
		return errors.New("reverse_proxy has two policies, one within the other, that measure and eject upstreams: " +
			o.estimation.book.policy + " and " + e.book.policy)
	}
	o.estimation = e
	return nil
}

func (e *estimation) begin(a *attempt) {
	if e != nil {
		a.upstream.estimate(e.book).Begin(&a.estimate, e.book.at(a.began))
	}
}

// answered takes the response headers.
func (e *estimation) answered(a *attempt, res *http.Response) {
	if e == nil {
		return
	}
	a.estimate.Headers(e.book.at(a.outcome.at), e.fails(res.StatusCode))
	if endless(res) {
		a.estimate.Detach()
	}
}

func (e *estimation) received(a *attempt, bytes int) {
	if e != nil && e.bytes {
		a.estimate.Received(e.book.now(), bytes)
	}
}

// ended takes the end of an attempt, whose status has been judged if it had one.
func (e *estimation) ended(a *attempt) {
	if e == nil {
		return
	}
	outcome := estimator.Answered
	switch {
	case a.outcome.canceled:
		outcome = estimator.Canceled
	case a.outcome.status == 0, a.brokeOff() && !e.fails(a.outcome.status):
		outcome = estimator.Failed
	}
	a.estimate.Done(e.book.now(), outcome)
}

func (e *estimation) fails(status int) bool {
	for _, configured := range e.failureStatus {
		if caddyhttp.StatusCodeMatches(status, configured) {
			return true
		}
	}
	return false
}

// endless reports whether a response is a stream whose end its maker does not foresee: it takes no worker of the upstream,
// and how long it lasts says nothing of the upstream's speed.
func endless(res *http.Response) bool {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	kind := res.Header["Content-Type"] // as Header.Get, without making the key canonical
	return len(kind) > 0 && strings.HasPrefix(kind[0], "text/event-stream")
}
