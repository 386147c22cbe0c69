// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

const (
	// copyDeadline is how long an ejected upstream may take for a copy until that counts as a failure.
	copyDeadline = 5 * time.Second
	// copyBody is how much of a copy's answer is read, to see whether a body comes and to use the connection again.
	copyBody = 64 << 10
	// dialInfoKey is where Caddy's transports look for the upstream; reverseproxy.GetDialInfo reads it.
	dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"
)

// copier sends copies of requests to ejected upstreams, to find out at no client's expense whether they are back. A copy
// is what a retry would be: the same request with the header operations that the handler would apply. Its answer goes to
// nobody, and it counts neither in Caddy's own state nor as a request in the metrics.
//
// The estimator asks for a copy when a probe is due, and for one at a time to an upstream; so there are never more under
// way than ejected upstreams, and none for longer than copyDeadline.
type copier struct {
	ctx      context.Context // the config's
	handler  *reverseproxy.Handler
	observer *observer

	mu      sync.Mutex // guards stopped, and running while it grows
	stopped bool
	running sync.WaitGroup
}

// newCopier returns nil where requests cannot be copied: the transport needs more than the request and its context, or
// dials by the client's connection.
func newCopier(ctx context.Context, handler *reverseproxy.Handler, o *observer) *copier {
	transport, ok := o.next.(*reverseproxy.HTTPTransport)
	if !ok || transport.ProxyProtocol != "" {
		return nil
	}
	return &copier{ctx: ctx, handler: handler, observer: o}
}

// copyable reports whether to copy a request is as harmless as to retry it: the method is safe (RFC 9110, section 9.2.1)
// and there is no body. What depends on something that the client holds, a part of a response or a connection to be
// upgraded, shows little of the upstream's health and is not copied.
func copyable(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if r.ContentLength != 0 || (r.Body != nil && r.Body != http.NoBody) || len(r.TransferEncoding) > 0 {
		return false
	}
	for _, field := range []string{"Upgrade", "Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if _, ok := r.Header[field]; ok {
			return false
		}
	}
	return true
}

// send makes a copy of r for an upstream and sends it in the background. It must be called in Select: there the request is
// not under way yet, and the handler will set the placeholders that the copy's header operations need to the chosen
// upstream's.
func (c *copier) send(r *http.Request, to *reverseproxy.Upstream, u *upstream) {
	req, cancel, err := c.copy(r, to)
	if err != nil {
		return // the address does not parse for this request; the handler reports that where it concerns a client
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		cancel()
		return
	}
	c.running.Go(func() {
		defer cancel()
		c.roundTrip(req, u)
	})
}

func (c *copier) roundTrip(req *http.Request, u *upstream) {
	a := &attempt{observer: c.observer, upstream: u, ctx: req.Context(), began: time.Now(), copied: true}
	res, err := c.observer.send(a, req)
	if err != nil {
		return // the attempt knows
	}
	_, _ = io.CopyN(io.Discard, res.Body, copyBody) // as does it of a body that breaks off
	_ = res.Body.Close()
}

// copy returns the request to send, which shares nothing with r that changes.
func (c *copier) copy(r *http.Request, to *reverseproxy.Upstream) (*http.Request, context.CancelFunc, error) {
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if repl == nil || server == nil {
		return nil, nil, errors.New("no request of Caddy's server")
	}
	info, err := dialInfoOf(to, repl)
	if err != nil {
		return nil, nil, err
	}
	req := r.Clone(r.Context())
	setPlaceholders(repl, info)
	if ops := c.observer.RequestHeaderOps(); ops != nil {
		ops.ApplyToRequest(req)
	}
	if c.handler.Headers != nil && c.handler.Headers.Request != nil {
		c.handler.Headers.Request.ApplyToRequest(req)
	}
	req.URL.Host = info.Address

	ctx, cancel := context.WithTimeout(c.ctx, copyDeadline)
	own := caddy.NewReplacer()
	req = caddyhttp.PrepareRequest(req.WithContext(ctx), own, nil, server)
	setPlaceholders(own, info)
	if vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		maps.Copy(req.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	}
	return req.WithContext(context.WithValue(req.Context(), dialInfoKey, info)), cancel, nil
}

// stop ends the copies that are under way, and waits for that.
func (c *copier) stop() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.running.Wait()
}

// dialInfoOf expands an upstream's address for a request, as the handler does for the upstream that was chosen.
func dialInfoOf(u *reverseproxy.Upstream, repl *caddy.Replacer) (reverseproxy.DialInfo, error) {
	address, err := caddy.ParseNetworkAddress(repl.ReplaceAll(u.Dial, ""))
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %w", u.Dial, err)
	}
	if address.PortRangeSize() != 1 {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: more than one port", u.Dial)
	}
	return reverseproxy.DialInfo{
		Upstream: u, Network: address.Network, Address: address.JoinHostPort(0),
		Host: address.Host, Port: strconv.Itoa(int(address.StartPort)),
	}, nil
}

func setPlaceholders(repl *caddy.Replacer, info reverseproxy.DialInfo) {
	repl.Set("http.reverse_proxy.upstream.address", info.String())
	repl.Set("http.reverse_proxy.upstream.hostport", info.Address)
	repl.Set("http.reverse_proxy.upstream.host", info.Host)
	repl.Set("http.reverse_proxy.upstream.port", info.Port)
}
