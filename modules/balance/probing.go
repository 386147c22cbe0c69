// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
)

// proxyProtocolKey is the variable in which Caddy's HTTP transport looks for the client that a PROXY protocol header names.
const proxyProtocolKey = "reverse_proxy.proxy_protocol_info"

// errRequestPlaceholder is why an upstream is not checked at all.
var errRequestPlaceholder = errors.New("the address depends on the request")

// describe tells transports apart as far as their config does.
func describe(transport http.RoundTripper) []byte {
	config, err := json.Marshal(transport)
	if err != nil { // a transport of somebody else's that is no plain struct
		config = nil
	}
	return fmt.Appendf(config, "%T", transport)
}

// checkTransport returns the transport for checks through a handler's, and what to do when they end. It is the handler's
// own, unless that one has checks wait for requests or not heed a deadline.
func checkTransport(next http.RoundTripper, timeout time.Duration) (http.RoundTripper, func()) {
	switch t := next.(type) {
	case *reverseproxy.HTTPTransport:
		if t.MaxConnsPerHost == 0 || t.Transport == nil || slices.Contains(t.Versions, "3") { // which has no such limit
			break
		}
		own := t.Transport.Clone()
		own.MaxConnsPerHost = 0
		return &reverseproxy.HTTPTransport{
			TLS: t.TLS, ProxyProtocol: t.ProxyProtocol, Versions: t.Versions, Transport: own,
		}, own.CloseIdleConnections
	case *fastcgi.Transport: // dials with the request's context, but then reads without it
		own := *t
		limit := caddy.Duration(timeout)
		if own.ReadTimeout == 0 || own.ReadTimeout > limit {
			own.ReadTimeout = limit
		}
		if own.WriteTimeout == 0 || own.WriteTimeout > limit {
			own.WriteTimeout = limit
		}
		return &own, func() {}
	}
	return next, func() {}
}

// dialInfo returns where an upstream is checked.
func (c *check) dialInfo(address string) (reverseproxy.DialInfo, error) {
	repl := caddy.NewReplacer() // global placeholders, such as {env.HOST}
	expanded, err := repl.ReplaceOrErr(address, true, true)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("%w: %w", errRequestPlaceholder, err)
	}
	info, err := dialInfoOf(&reverseproxy.Upstream{Dial: expanded}, repl)
	if err != nil || c.port == 0 {
		return info, err
	}
	if info.Network != "tcp" && info.Network != "tcp4" && info.Network != "tcp6" {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s has no port that another could stand for", address)
	}
	info.Port = strconv.Itoa(c.port)
	info.Address = net.JoinHostPort(info.Host, info.Port)
	return info, nil
}

// request returns the request of a check, in a context as the handler's transport expects it: with variables of its own,
// which nobody else reads or writes.
func (c *check) request(ctx context.Context, via http.RoundTripper, info reverseproxy.DialInfo) (*http.Request, error) {
	u := &url.URL{Scheme: "http", Host: info.Address, Path: c.uri.Path, RawPath: c.uri.RawPath, RawQuery: c.uri.RawQuery}
	switch {
	case strings.HasPrefix(info.Network, "unix"), strings.HasPrefix(info.Network, "fd"):
		u.Host = "localhost" // a path is no host
	case info.Host == "":
		u.Host = net.JoinHostPort("localhost", info.Port)
	}
	if t, ok := via.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		t.OverrideHealthCheckScheme(u, info.Port)
	}
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, dialInfoKey, info)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{
		// The header must name a client; a check's is the proxy.
		proxyProtocolKey: reverseproxy.ProxyProtocolInfo{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)},
	})
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = c.headers.Clone()
	if c.host != "" {
		req.Host = c.host
	}
	return req.WithContext(context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, *req)), nil
}

// run makes one check and returns why it failed, nil if it passed. The context's deadline bounds it.
func (c *check) run(ctx context.Context, via http.RoundTripper, address string) (problem error) {
	defer func() {
		if v := recover(); v != nil { // a transport that needs more of a request than a check has
			problem = fmt.Errorf("the transport panicked: %v", v)
		}
	}()
	info, err := c.dialInfo(address)
	if err != nil {
		return err
	}
	req, err := c.request(ctx, via, info)
	if err != nil {
		return err
	}
	res, err := via.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxCheckBody)) // to its end, if near: the connection can be used again
	switch {
	case !c.accepts(res.StatusCode):
		return fmt.Errorf("status %d", res.StatusCode)
	case err != nil:
		return fmt.Errorf("reading the body: %w", err)
	case c.body != nil && !c.body.Match(body):
		return fmt.Errorf("no match of %q in the body", c.body)
	}
	return nil
}
