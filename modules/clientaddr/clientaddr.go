// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package clientaddr is where modules that key on the client's address get it from, and where a server that cannot know
// its clients' addresses is found out and named in the log.
package clientaddr

import (
	"net"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Of returns the client's address as Caddy determined it: the socket's peer or, if that is one of the server's
// trusted_proxies, the address that it forwards. Without a zone, and an IPv4 address as IPv4, so that one client has one
// address. ok is false where there is none, as on a Unix socket. It does not allocate.
func Of(r *http.Request) (addr netip.Addr, ok bool) {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if text == "" || text == "@" { // what Caddy calls the peer of a Unix socket; an error of the parser would allocate
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

// IsProxy reports whether addr, the client's address of r, is that of the trusted proxy that sent r: a request of the
// proxy's own, its health check for instance, rather than one that it forwards.
func IsProxy(r *http.Request, addr netip.Addr) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return false
	}
	peer, ok := Parse(r.RemoteAddr)
	return ok && peer == addr
}

// Parse reads an address with or without a port, as in a request's RemoteAddr, in the same form as Of.
func Parse(text string) (addr netip.Addr, ok bool) {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}
