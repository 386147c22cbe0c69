// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() { caddy.RegisterModule(Listener{}) }

// Listener wraps a server's listener and closes the connections of banned peers as soon as they are accepted, with a reset:
// before TLS, if it stands before the wrapper `tls`. A peer that is a trusted proxy of the server is let through, as its
// connections carry other clients' requests; those the directive ip_ban looks at, which this wrapper does not replace: it
// sees neither HTTP/3 nor connections that were accepted before the ban.
//
// After a wrapper such as `proxy_protocol` that tells another peer than the socket's, it is that peer that counts.
type Listener struct {
	// DryRun decides and counts, and lets every connection through. Default: false.
	DryRun bool `json:"dry_run,omitempty"`

	app         *App
	server      *caddyhttp.Server
	connections [outcomes]prometheus.Counter
	logger      *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.ip_ban", New: func() caddy.Module { return new(Listener) }}
}

// Provision implements caddy.Provisioner.
func (l *Listener) Provision(ctx caddy.Context) error {
	app, err := ctx.App("ip_bans")
	if err != nil {
		return fmt.Errorf("the listener wrapper ip_ban: %w", err)
	}
	l.app = app.(*App)
	l.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	l.connections = outcomeCounters("listener")
	l.logger = ctx.Logger()
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax, among listener_wrappers:
//
//	ip_ban {
//		dry_run
//	}
func (l *Listener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{"dry_run": func() error { return directive.Flag(d, &l.DryRun) }})
}

// WrapListener implements caddy.ListenerWrapper.
func (l *Listener) WrapListener(inner net.Listener) net.Listener { return &wrapped{inner, l} }

// refuses decides on the peer of a connection, whose address may take a while to be known.
func (l *Listener) refuses(conn net.Conn) bool {
	addr, ok := clientaddr.Parse(conn.RemoteAddr().String())
	if !ok {
		l.connections[passed].Inc()
		return false
	}
	v := l.app.judge(addr, func() bool { return clientaddr.TrustedBy(l.server, addr) })
	if v.outcome == banned && l.DryRun {
		v.outcome = dryRun
	}
	l.connections[v.outcome].Inc()
	if v.outcome != passed {
		if c := l.logger.Check(zap.DebugLevel, "a ban covers the peer of a connection"); c != nil {
			c.Write(zap.Stringer("peer", addr), zap.Stringer("outcome", v.outcome), zap.Stringer("prefix", v.ban.Prefix))
		}
	}
	return v.outcome == banned
}

// wrapped is a listener that hands over no connection of a banned peer.
type wrapped struct {
	net.Listener
	module *Listener
}

// Accept implements net.Listener.
func (w *wrapped) Accept() (net.Conn, error) {
	for {
		conn, err := w.Listener.Accept()
		if err != nil {
			return nil, err
		}
		switch socket := socketOf(conn).(type) {
		case *net.TCPConn:
			if w.module.refuses(socket) {
				reset(socket)
				continue
			}
			return conn, nil
		case *net.UnixConn: // its peer has no address
			return conn, nil
		default:
			return w.late(conn), nil
		}
	}
}

// socketOf looks below TLS, where this wrapper comes after it.
func socketOf(conn net.Conn) net.Conn {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}

// late has a connection decided on when it is first read, on its own goroutine: its peer is told by another wrapper, which may
// have to wait for the peer's first bytes. What is TLS already must stay what it is, for HTTP/2, and is left to the directive.
func (w *wrapped) late(conn net.Conn) net.Conn {
	if _, secure := conn.(interface{ ConnectionState() tls.ConnectionState }); secure {
		return conn
	}
	return &lateConn{Conn: conn, module: w.module}
}

// reset closes a connection without the handshake that ends one, which would keep it waiting for its peer.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// lateConn is a connection whose peer is looked up with the first read.
type lateConn struct {
	net.Conn
	module *Listener
	once   sync.Once
	closed bool
}

// Read implements net.Conn.
func (c *lateConn) Read(p []byte) (int, error) {
	c.once.Do(func() {
		if c.closed = c.module.refuses(c.Conn); c.closed {
			_ = c.Conn.Close()
		}
	})
	if c.closed {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Listener)(nil)
	_ caddy.ListenerWrapper = (*Listener)(nil)
	_ caddyfile.Unmarshaler = (*Listener)(nil)
)
