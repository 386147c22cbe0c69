// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// errSecondDispatch ends a request that would be sent a second time. reverse_proxy gives up at once on context.Canceled, which
// it is to errors.Is; after any other error it may go on to try for as long as lb_try_duration.
var errSecondDispatch = fmt.Errorf("the request was sent once already and is not sent again: %w", context.Canceled)

// guard sees to it that a request is sent to an application once, and knows whether it was.
//
// Three parties would send it again: reverse_proxy by lb_retry_match; Go's HTTP/1 transport, which takes a request without
// a body for repeatable because it carries an Idempotency-Key; and Go's HTTP/2 transport after GOAWAY and REFUSED_STREAM.
// All of them ask for a connection first, which a trace in the request's context sees. Connections that fail before
// headers were written are none of its business: they are safe to try again, and are.
type guard struct {
	// hasContent says that the request's header tells of content, so that it differs from that of a GET.
	hasContent bool

	cancel    context.CancelCauseFunc
	traced    atomic.Bool   // a transport that tells about its connections was asked
	assigned  atomic.Bool   // it found one
	connected atomic.Bool   // one that tells nothing has connected
	header    atomic.Uint32 // what was noticed of the header that is being written
	sent      atomic.Bool   // headers were written
	vetoed    atomic.Bool   // a second dispatch was prevented
}

// watch returns a context that the guard ends with errSecondDispatch. The caller cancels it in any case.
func (g *guard) watch(ctx context.Context) context.Context {
	ctx, g.cancel = context.WithCancelCause(ctx)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:          g.getConn,
		GotConn:          g.gotConn,
		ConnectStart:     g.connectStart,
		ConnectDone:      g.connectDone,
		WroteHeaderField: g.wroteField,
		WroteHeaders:     g.wroteHeaders,
	})
}

func (g *guard) end() { g.cancel(context.Canceled) }

// getConn is called before each attempt, in HTTP/2 with the lock of the transport's pool held: it must not panic.
// HTTP/2 and 3 look at the context before they write, so cancelling it is all that it takes there.
func (g *guard) getConn(string) {
	g.traced.Store(true)
	if g.isSent() {
		g.vetoed.Store(true)
		g.cancel(errSecondDispatch)
	}
}

// gotConn stops HTTP/1, where the write races with the cancellation: the connection, which is this request's alone, is
// closed before anything is written to it. One of HTTP/2 carries other requests and stays.
func (g *guard) gotConn(info httptrace.GotConnInfo) {
	g.assigned.Store(true)
	if !g.vetoed.Load() || info.Conn == nil || !calledByHTTP1() {
		return
	}
	conn := info.Conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn() // of TLS, whose own Close would wait to say goodbye
	}
	_ = conn.Close() // it is not to be used, whatever closing says
}

// calledByHTTP1 tells an unencrypted HTTP/1 connection from one of HTTP/2, which look alike: net/http announces the former
// from getConn, the latter from its HTTP/2 part. It costs a few microseconds, where a second dispatch is prevented.
func calledByHTTP1() bool {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "net/http.(*Transport).getConn") {
			return true
		}
		if !more {
			return false
		}
	}
}

// connectStart and connectDone watch transports that announce no connections and dial one for each request, as FastCGI does:
// after one connection was made, a second one would carry the request a second time. HTTP's dial in the background.
func (g *guard) connectStart(network, _ string) {
	if g.dials(network) && g.connected.Load() {
		g.vetoed.Store(true)
		g.cancel(errSecondDispatch)
	}
}

func (g *guard) connectDone(network, _ string, err error) {
	if g.dials(network) && err == nil {
		g.connected.Store(true)
	}
}

// dials reports whether a connection can be one to an application; those that look up names are UDP.
func (g *guard) dials(network string) bool {
	return !g.traced.Load() && !strings.HasPrefix(network, "udp")
}

// What is noticed of the header that is being written.
const (
	begun           = 1 << iota // anything of it
	forwardedMethod             // both fields that forward_auth adds
	forwardedURI
	ofContent  // Content-Length or Transfer-Encoding, which Go writes for every POST, PUT and PATCH
	notGET     // the method, which HTTP/2 and 3 show
	subrequest = begun | forwardedMethod | forwardedURI
)

// wroteField notes what tells subrequests of forward_auth: their GET is no dispatch of the request. Names are in lower case in
// HTTP/2 and 3.
func (g *guard) wroteField(name string, values []string) {
	noticed := uint32(begun)
	switch {
	case strings.EqualFold(name, subAuthField):
		noticed |= forwardedMethod
	case strings.EqualFold(name, "X-Forwarded-Uri"):
		noticed |= forwardedURI
	case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Transfer-Encoding"):
		noticed |= ofContent
	case name == ":method" && !slices.Equal(values, []string{http.MethodGet}):
		noticed |= notGET
	}
	g.header.Or(noticed)
}

// subAuthField is taken from what the client sends.
const subAuthField = "X-Forwarded-Method"

// wroteHeaders is called when the headers are in the transport's buffer; they may never leave it. That cannot be told from
// here, so they count as sent.
func (g *guard) wroteHeaders() {
	if g.header.Swap(0) == subrequest && g.hasContent {
		g.traced.Store(false) // the transport that was asked is not the application's
		g.connected.Store(false)
		return
	}
	g.sent.Store(true)
}

// isSent reports whether headers were written, or are being written: HTTP/2 can be stuck in that when its request has ended, and
// finish it later.
func (g *guard) isSent() bool { return g.sent.Load() || g.header.Load() != 0 }

// reach says how far a request got.
type reach int

const (
	// unsent is proven: no application has seen it.
	unsent reach = iota
	// unproven is a transport that tells nothing about its connections, as FastCGI.
	unproven
	// sent is at least its headers.
	sent
)

// reached judges from the trace and from the error that the handlers returned. A request whose deadline passed when it had a
// connection may be written at that moment.
func (g *guard) reached(err error, timedOut bool) reach {
	var dial reverseproxy.DialError
	switch {
	case g.isSent(), g.vetoed.Load(), timedOut && g.assigned.Load():
		return sent
	case g.traced.Load(), errors.As(err, &dial), isNoUpstream(err):
		return unsent
	}
	return unproven
}

// isNoUpstream recognizes reverse_proxy's refusal when no upstream was available for the first attempt; its error is not
// exported.
func isNoUpstream(err error) bool {
	return err != nil && strings.Contains(err.Error(), "no upstreams available")
}

var _ interface{ NetConn() net.Conn } = (*tls.Conn)(nil)
