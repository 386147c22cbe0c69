// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// askDeadline is how long an ejected upstream may take for a request of the proxy's own until that counts as no answer.
const askDeadline = 5 * time.Second

// asker sends requests of the proxy's own to ejected upstreams for which no client's request could be copied. Without it,
// clients' own requests would have to find out whether an outage is over, however long it lasts, and fail.
//
// An answer that is no failure only opens the way for one client's request: whatever the proxy asks for may be well where
// nothing else is. Where an upstream that serves clients does not answer it either, it tells nothing.
//
// The estimator asks for such a request when it is due. One at a time goes to an upstream; so there are never more under
// way than ejected upstreams. They enter no statistics, and no metrics but their own.
type asker struct {
	ctx    context.Context // the config's
	check  *check
	via    http.RoundTripper
	hangUp func()
	now    func() int64 // the estimates' clock

	mu      sync.Mutex // guards asked and stopped, and running while it grows
	asked   map[*upstream]bool
	stopped bool
	running sync.WaitGroup
}

// newAsker returns nil where the proxy is not to ask, or cannot be sure that an answer would end in time, as the transport
// is somebody else's.
func newAsker(ctx context.Context, p *proxy, o *Outliers, now func() int64) (*asker, error) {
	if o.Probe != nil && o.Probe.Request == requestOff {
		return nil, nil
	}
	switch p.next.(type) {
	case *reverseproxy.HTTPTransport, *fastcgi.Transport:
	default:
		return nil, nil
	}
	made, err := o.question(p)
	if err != nil {
		return nil, fmt.Errorf("probe: request: %w", err)
	}
	a := &asker{ctx: ctx, check: made, now: now, asked: map[*upstream]bool{}}
	a.via, a.hangUp = checkTransport(p.next, askDeadline)
	return a, nil
}

// question returns what to send, and what is an answer: the health check's, or a GET whose answer is no failure.
func (o *Outliers) question(p *proxy) (*check, error) {
	own := Health{URI: defaultCheckURI, Headers: http.Header{"User-Agent": {"gatehouse-probe"}}}
	if o.Probe != nil && o.Probe.Request != "" {
		own.URI = o.Probe.Request
	} else if p.health != nil {
		return p.health.check, nil
	}
	failing := estimation{failureStatus: o.failureStatus()}
	for status := http.StatusOK; status <= highestStatus; status++ {
		if !failing.fails(status) {
			own.Status = append(own.Status, status)
		}
	}
	return own.parse(nil)
}

// ask sends the request to an ejected upstream in the background, and tells its estimate. The control is the address of an
// upstream that serves clients.
func (a *asker) ask(u *upstream, e *estimator.Upstream, control string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped || a.asked[u] {
		return
	}
	a.asked[u] = true
	u.asked.Add(1)
	a.running.Go(func() {
		defer a.done(u)
		well := a.answers(u.address) || !a.answers(control)
		if a.ctx.Err() == nil {
			e.Asked(a.now(), well)
		}
	})
}

func (a *asker) done(u *upstream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.asked, u)
}

// answers reports whether an upstream answers the request. One that cannot be asked, as its address depends on a client's
// request, passes for answering: nothing but a client's request can tell.
func (a *asker) answers(address string) bool {
	ctx, cancel := context.WithTimeout(a.ctx, askDeadline)
	defer cancel()
	err := a.check.run(ctx, a.via, address)
	return err == nil || errors.Is(err, errRequestPlaceholder)
}

// stop waits for the requests that are under way, which end with the config. Those over FastCGI read on until their deadline,
// and tell nobody then: a reload is not to wait for an upstream that hangs.
func (a *asker) stop() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	if _, deaf := a.via.(*fastcgi.Transport); deaf {
		return nil
	}
	if !endsWithin(closeLimit, &a.running) {
		return fmt.Errorf("probes through %T do not end", a.via)
	}
	a.hangUp()
	return nil
}

// endsWithin waits for work to end, and reports whether it did in time.
func endsWithin(limit time.Duration, work *sync.WaitGroup) bool {
	ended := make(chan struct{})
	go func() {
		work.Wait()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// checkRequest checks the option of that name.
func checkRequest(uri string) error {
	if uri == "" || uri == requestOff {
		return nil
	}
	_, err := (&Health{URI: uri}).parse(nil)
	return err
}
