// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// observer is the transport around a reverse_proxy handler's own: it sees every attempt, including those that fail, and
// knows the upstream by the dial information in the request's context.
//
// Active health checks go through the same transport. They must not count, or a cheap /health would pass for the
// upstream's speed; they are told apart by their context, which has no request variables.
type observer struct {
	next     http.RoundTripper
	registry *registry
	static   map[*reverseproxy.Upstream]*upstream // spares the static upstreams a look-up by address
	retries  retries
	// protocol is next where that can send PROXY protocol headers, else nil: every request asks, and to find out anew each
	// time would cost as much as a part of the choice.
	protocol reverseproxy.ProxyProtocolTransport
	// estimation is nil if the handler's policy does not estimate. It is set in Provision, before the first request.
	estimation *estimation
}

// outcome is what is known of an attempt.
type outcome struct {
	// at is when the response headers came, or when it was clear that they would not.
	at time.Time
	// elapsed is the time from the start to the response headers, or to the error.
	elapsed time.Duration
	// status is the response's, 0 if there was none.
	status int
	// failed is set for transport errors, statuses from 500, and in the end for a body that broke off.
	failed bool
	// canceled is set if the client gave up, or its request was at fault. It excludes failed.
	canceled bool
}

func newObserver(handler *reverseproxy.Handler, r *registry) *observer {
	o := &observer{
		next:     handler.Transport,
		registry: r,
		static:   make(map[*reverseproxy.Upstream]*upstream, len(handler.Upstreams)),
	}
	o.protocol, _ = o.next.(reverseproxy.ProxyProtocolTransport)
	o.retries.configure(handler.LoadBalancing)
	for _, u := range handler.Upstreams {
		o.static[u] = r.get(u.Dial)
	}
	return o
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(req *http.Request) (*http.Response, error) {
	u := o.upstreamOf(req.Context())
	if u == nil {
		return o.next.RoundTrip(req)
	}
	return o.send(&attempt{observer: o, upstream: u, ctx: req.Context(), began: time.Now()}, req)
}

// send makes the attempt.
func (o *observer) send(a *attempt, req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &upload{ReadCloser: req.Body, faulty: &a.faulty} // req is this attempt's own
	}
	a.start()
	returned := false
	defer func() {
		if !returned { // the transport panicked
			a.finish()
		}
	}()
	res, err := o.next.RoundTrip(req)
	returned = true
	if err != nil && !sendable(req.Header) {
		a.faulty.Store(true)
	}
	a.answer(res, err)
	if err != nil || res.Body == nil || res.Body == http.NoBody {
		a.finish() // http.NoBody stays what it is: Caddy compares with it
		return res, err
	}
	res.Body = a.watch(res.Body)
	return res, nil
}

// upstreamOf returns the upstream that a proxied request goes to, and nil for any other request.
func (o *observer) upstreamOf(ctx context.Context) *upstream {
	info, ok := reverseproxy.GetDialInfo(ctx)
	if !ok || info.Upstream == nil || ctx.Value(caddyhttp.VarsCtxKey) == nil {
		return nil
	}
	if u, ok := o.static[info.Upstream]; ok {
		return u
	}
	return o.registry.get(info.Upstream.Dial)
}
