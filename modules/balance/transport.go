// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// What a reverse_proxy handler may ask of its transport beyond RoundTrip, passed on to the transport behind the observer.
// Each answers as a transport without the interface would, where that one has none. A test reads Caddy's source and fails
// when a new version asks for more.

// ProxyProtocolEnabled implements reverseproxy.ProxyProtocolTransport.
func (o *observer) ProxyProtocolEnabled() bool {
	return o.protocol != nil && o.protocol.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme implements reverseproxy.HealthCheckSchemeOverriderTransport.
func (o *observer) OverrideHealthCheckScheme(base *url.URL, port string) {
	if t, ok := o.next.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		t.OverrideHealthCheckScheme(base, port)
	}
}

// RequestHeaderOps implements reverseproxy.RequestHeaderOpsTransport.
func (o *observer) RequestHeaderOps() *headers.HeaderOps {
	if t, ok := o.next.(reverseproxy.RequestHeaderOpsTransport); ok {
		return t.RequestHeaderOps()
	}
	return nil
}

// RequiresContentLength implements reverseproxy.ContentLengthRequiredTransport.
func (o *observer) RequiresContentLength() bool {
	t, ok := o.next.(reverseproxy.ContentLengthRequiredTransport)
	return ok && t.RequiresContentLength()
}

// DefaultBufferSizes implements reverseproxy.BufferedTransport.
func (o *observer) DefaultBufferSizes() (request, response int64) {
	if t, ok := o.next.(reverseproxy.BufferedTransport); ok {
		return t.DefaultBufferSizes()
	}
	return 0, 0
}

// TLSEnabled implements reverseproxy.TLSTransport.
func (o *observer) TLSEnabled() bool {
	t, ok := o.next.(reverseproxy.TLSTransport)
	return ok && t.TLSEnabled()
}

// EnableTLS implements reverseproxy.TLSTransport.
func (o *observer) EnableTLS(base *reverseproxy.TLSConfig) error {
	if t, ok := o.next.(reverseproxy.TLSTransport); ok {
		return t.EnableTLS(base)
	}
	return fmt.Errorf("transport %T has no TLS", o.next)
}

// EnableH2C implements reverseproxy.H2CTransport.
func (o *observer) EnableH2C() error {
	if t, ok := o.next.(reverseproxy.H2CTransport); ok {
		return t.EnableH2C()
	}
	return fmt.Errorf("transport %T has no h2c", o.next)
}

// Interface guards
var (
	_ reverseproxy.ProxyProtocolTransport              = (*observer)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*observer)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*observer)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*observer)(nil)
	_ reverseproxy.BufferedTransport                   = (*observer)(nil)
	_ reverseproxy.TLSTransport                        = (*observer)(nil)
	_ reverseproxy.H2CTransport                        = (*observer)(nil)
)
