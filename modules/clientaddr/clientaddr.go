// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package clientaddr is where modules that key on the client's address get it from, and where a server that cannot know
// its clients' addresses is found out and named in the log.
package clientaddr

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/caddyserver/caddy/v2"
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

// IsTrusted reports whether addr is a trusted proxy of r's server, whoever sent r. Unlike IsProxy it asks the server's list,
// which costs some microseconds.
func IsTrusted(r *http.Request, addr netip.Addr) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return TrustedBy(server, addr)
}

// TrustedBy reports whether addr is a trusted proxy of the server. It asks as a request would be: the list may come from a
// module and change, and Caddy shows it to nobody else.
func TrustedBy(server *caddyhttp.Server, addr netip.Addr) bool {
	if server == nil || !addr.IsValid() {
		return false
	}
	r := &http.Request{
		Method: http.MethodGet, URL: new(url.URL), Header: http.Header{},
		RemoteAddr: netip.AddrPortFrom(addr, 0).String(),
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, server)
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
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
