// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"errors"
	"net"
	"net/netip"
	"strings"
)

// Every address on the command line becomes a token of a Caddyfile. The parsers here take in only letters, digits and
// ".-_:[]/", and what is written out is built anew from the parts, so that no input can open a quote, a block, a comment
// or a placeholder there.

// upstream is one address of the application.
type upstream struct {
	scheme string // "http", "https" or "h2c"
	host   string // a name or an IP address without brackets; empty for a socket
	port   string
	socket string // the absolute path of a Unix socket, otherwise empty
}

// String is the address as reverse_proxy reads it.
func (u upstream) String() string {
	switch {
	case u.socket != "":
		return "unix/" + u.socket
	case u.scheme == "http":
		return net.JoinHostPort(u.host, u.port)
	default:
		return u.scheme + "://" + net.JoinHostPort(u.host, u.port)
	}
}

// parseUpstream reads a value of --to.
func parseUpstream(s string) (upstream, error) {
	if socket, ok := strings.CutPrefix(s, "unix/"); ok {
		return upstream{scheme: "http", socket: socket}, checkSocket(socket)
	}
	scheme, rest, err := cutScheme(s, "http", "https", "h2c")
	if err != nil {
		return upstream{}, err
	}
	host, port, err := splitHostPort(rest)
	if err != nil {
		return upstream{}, err
	}
	if host == "" {
		if port == "" {
			return upstream{}, errors.New("it is empty")
		}
		host = "localhost" // as in ":3000"
	}
	if err := checkPortOfScheme(scheme, port); err != nil {
		return upstream{}, err
	}
	u := upstream{scheme: scheme, host: strings.ToLower(host), port: port}
	if u.scheme == "" {
		u.scheme = "http"
	}
	if u.port == "" {
		u.port = defaultPort(u.scheme)
	}
	return u, nil
}

// checkPortOfScheme refuses the pairs that Caddy refuses, and a bare ":443", which would mean plain HTTP to it.
func checkPortOfScheme(scheme, port string) error {
	switch {
	case port == "443" && scheme != "https":
		return errors.New("port 443 is for HTTPS: write https:// before it")
	case port == "80" && scheme == "https":
		return errors.New("port 80 is for plain HTTP: leave https:// or the port out")
	}
	return nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// listener is where front receives requests.
type listener struct {
	scheme string // "http" or "https"
	name   string // the host name that is served, in lower case; empty: every name
	bind   string // the one IP address that is listened on; empty: all of them
	port   string
}

// parseListener reads the value of --from. A host name means HTTPS as it does for Caddy; an IP address is the interface
// to listen on, in plain HTTP unless https:// stands before it.
func parseListener(s string) (listener, error) {
	scheme, rest, err := cutScheme(s, "http", "https")
	if err != nil {
		return listener{}, err
	}
	host, port, err := splitHostPort(rest)
	if err != nil {
		return listener{}, err
	}
	if host == "" && port == "" {
		return listener{}, errors.New("it is empty")
	}
	if strings.Contains(host, "_") {
		return listener{}, errors.New("a host name that is served has no underscore")
	}
	l := listener{scheme: scheme, port: port}
	if ip, err := netip.ParseAddr(host); err == nil {
		l.bind = ip.String()
	} else {
		l.name = strings.ToLower(host)
	}
	if l.scheme == "" {
		l.scheme = "http"
		if l.name != "" && port != "80" {
			l.scheme = "https"
		}
	}
	if l.port == "" {
		l.port = defaultPort(l.scheme)
	}
	return l, l.check()
}

func (l listener) check() error {
	switch {
	case l.port == "443" && l.scheme == "http":
		return errors.New("port 443 is for HTTPS: name the host that clients ask for, as in example.com")
	case l.port == "80" && l.scheme == "https":
		return errors.New("port 80 is for plain HTTP: leave https:// or the port out")
	case l.scheme == "https" && l.name == "" && l.bind == "":
		return errors.New("HTTPS needs the host name that its certificate is for, as in https://example.com:8443")
	}
	return nil
}

// site is the address as a Caddyfile's site block has it.
func (l listener) site() string {
	if l.scheme == "http" && l.name == "" {
		return ":" + l.port
	}
	host := l.name
	if host == "" {
		host = l.bind
	}
	return l.scheme + "://" + hostPort(l.scheme, host, l.port)
}

// address is what net.Listen takes.
func (l listener) address() string { return net.JoinHostPort(l.bind, l.port) }

// String is the URL that an operator would open.
func (l listener) String() string {
	host := l.name
	switch {
	case host != "":
	case l.bind == "" || netip.MustParseAddr(l.bind).IsUnspecified():
		host = "localhost"
	default:
		host = l.bind
	}
	return l.scheme + "://" + hostPort(l.scheme, host, l.port)
}

// hostPort leaves the port out where the scheme implies it.
func hostPort(scheme, host, port string) string {
	if port == defaultPort(scheme) {
		return strings.TrimSuffix(net.JoinHostPort(host, ""), ":")
	}
	return net.JoinHostPort(host, port)
}

// reaches reports whether a connection to u would arrive at l: the proxy would then call itself.
func (l listener) reaches(u upstream) bool {
	if u.socket != "" || u.port != l.port {
		return false
	}
	bound, err := netip.ParseAddr(l.bind)
	everywhere := err != nil || bound.IsUnspecified()
	ip, err := netip.ParseAddr(u.host)
	ip = ip.Unmap()
	switch {
	case err != nil && u.host == "localhost":
		return everywhere || bound.IsLoopback()
	case err != nil:
		return u.host == l.name
	default:
		return ip == bound || everywhere && (ip.IsLoopback() || ip.IsUnspecified())
	}
}

// meets reports whether listening on host and port would be listening where l does.
func (l listener) meets(host, port string) bool {
	bound, err := netip.ParseAddr(l.bind)
	ip, notIP := netip.ParseAddr(host)
	switch {
	case port != l.port:
		return false
	case err != nil || bound.IsUnspecified() || host == "" || notIP == nil && ip.IsUnspecified():
		return true
	case host == "localhost":
		return bound.IsLoopback()
	default:
		return ip == bound
	}
}

// parseAdmin reads the value of --admin.
func parseAdmin(s string) (string, error) {
	if s == "off" {
		return s, nil
	}
	if socket, ok := strings.CutPrefix(s, "unix/"); ok {
		return s, checkSocket(socket)
	}
	host, port, err := splitHostPort(s)
	if err != nil {
		return "", err
	}
	if port == "" {
		return "", errors.New("the port is missing")
	}
	return net.JoinHostPort(host, port), nil
}
