// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"runtime"
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
	cancel  context.CancelCauseFunc
	traced  atomic.Bool // a transport that tells about its connections was asked
	sent    atomic.Bool // headers were written
	vetoed  atomic.Bool // a second dispatch was prevented
	subAuth atomic.Bool // the headers being written are those of an authentication subrequest
}

// watch returns a context that the guard ends with errSecondDispatch. The caller cancels it in any case.
func (g *guard) watch(ctx context.Context) context.Context {
	ctx, g.cancel = context.WithCancelCause(ctx)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:          g.getConn,
		GotConn:          g.gotConn,
		WroteHeaderField: g.wroteField,
		WroteHeaders:     g.wroteHeaders,
	})
}

func (g *guard) end() { g.cancel(context.Canceled) }

// getConn is called before each attempt, in HTTP/2 with the lock of the transport's pool held: it must not panic.
// HTTP/2 and 3 look at the context before they write, so cancelling it is all that it takes there.
func (g *guard) getConn(string) {
	g.traced.Store(true)
	if g.sent.Load() {
		g.vetoed.Store(true)
		g.cancel(errSecondDispatch)
	}
}

// gotConn stops HTTP/1, where the write races with the cancellation: the connection, which is this request's alone, is
// closed before anything is written to it. One of HTTP/2 carries other requests and stays.
func (g *guard) gotConn(info httptrace.GotConnInfo) {
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

// wroteField finds subrequests of forward_auth, which carry this field: their GET is no dispatch of the request. The field
// is taken from what the client sends.
func (g *guard) wroteField(name string, _ []string) {
	if name == subAuthField {
		g.subAuth.Store(true)
	}
}

const subAuthField = "X-Forwarded-Method"

// wroteHeaders is called when the headers are in the transport's buffer; they may never leave it. That cannot be told from
// here, so they count as sent.
func (g *guard) wroteHeaders() {
	if !g.subAuth.Swap(false) {
		g.sent.Store(true)
	}
}

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

// reached judges from the trace and from the error that the handlers returned.
func (g *guard) reached(err error) reach {
	var dial reverseproxy.DialError
	switch {
	case g.sent.Load():
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
