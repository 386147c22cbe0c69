// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"errors"
	"net/http"
	"net/http/httptrace"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		rec  Record
		want verdict
	}{
		"held":                {Record{State: Sent, Owner: "me", Fingerprint: "p"}, execute},
		"held, pending":       {Record{State: Pending, Owner: "me", Fingerprint: "p"}, execute},
		"another's":           {Record{State: Sent, Owner: "other", Fingerprint: "p"}, inFlight},
		"another's, pending":  {Record{State: Pending, Owner: "other", Fingerprint: "p"}, inFlight},
		"complete":            {Record{State: Complete, Owner: "other", Fingerprint: "p"}, replay},
		"complete by myself":  {Record{State: Complete, Owner: "me", Fingerprint: "p"}, replay},
		"unknown":             {Record{State: Unknown, Owner: "other", Fingerprint: "p"}, doubtful},
		"mismatch, sent":      {Record{State: Sent, Owner: "other", Fingerprint: "q"}, mismatch},
		"mismatch, complete":  {Record{State: Complete, Owner: "other", Fingerprint: "q"}, mismatch},
		"mismatch, unknown":   {Record{State: Unknown, Owner: "other", Fingerprint: "q"}, mismatch},
		"foreign, same print": {Record{State: Foreign, Fingerprint: "p"}, unreadable},
		"foreign":             {Record{State: Foreign}, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(c.rec, "me", "p"); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestConclude(t *testing.T) {
	failed := errors.New("connection reset by peer")
	handlerError := func(status int) error { return caddyhttp.Error(status, errors.New("x")) }
	for name, c := range map[string]struct {
		facts facts
		want  Act
	}{
		"answered":                           {facts{reach: sent, status: 201, complete: true}, Finish},
		"answered by a handler":              {facts{reach: unproven, status: 200, complete: true}, Finish},
		"answered after the deadline":        {facts{reach: sent, status: 201, complete: true, ended: true}, Finish},
		"error of the application":           {facts{reach: sent, status: 500, complete: true}, Finish},
		"refused by the application":         {facts{reach: sent, status: 403, complete: true}, Finish},
		"unavailable":                        {facts{reach: sent, status: 503, complete: true}, Finish},
		"unavailable, to be retried":         {facts{reach: sent, status: 503, complete: true, retry: true}, Release},
		"too many requests":                  {facts{reach: sent, status: 429, complete: true}, Release},
		"released by the application":        {facts{reach: sent, status: 201, complete: true, policy: policy{release: true}}, Release},
		"released, but cut":                  {facts{reach: sent, status: 201, policy: policy{release: true}}, Doubt},
		"gateway's 502":                      {facts{reach: sent, status: 502, complete: true}, Doubt},
		"gateway's 504":                      {facts{reach: sent, status: 504, complete: true}, Doubt},
		"499":                                {facts{reach: sent, status: 499, complete: true}, Doubt},
		"no answer":                          {facts{reach: sent, complete: true}, Doubt},
		"switched protocols":                 {facts{reach: sent, status: 101, complete: true}, Doubt},
		"short":                              {facts{reach: sent, status: 201}, Doubt},
		"panic":                              {facts{reach: sent, status: 201, complete: true, panicked: true}, Doubt},
		"panic before anything was sent":     {facts{reach: unsent, panicked: true}, Release},
		"panic, no traces":                   {facts{reach: unproven, panicked: true}, Doubt},
		"vetoed":                             {facts{reach: sent, status: 499, complete: true, vetoed: true}, Doubt},
		"vetoed, answered all the same":      {facts{reach: sent, status: 201, complete: true, vetoed: true}, Doubt},
		"connection failed":                  {facts{reach: sent, err: failed}, Doubt},
		"connection failed, no traces":       {facts{reach: unproven, err: failed}, Doubt},
		"not sent":                           {facts{reach: unsent, err: failed}, Release},
		"refused by a handler":               {facts{reach: unproven, err: handlerError(403)}, Release},
		"413 may be a transport's":           {facts{reach: unproven, err: handlerError(413)}, Doubt},
		"499 may be a transport's":           {facts{reach: unproven, err: handlerError(499)}, Doubt},
		"502 of a transport without traces":  {facts{reach: unproven, err: handlerError(502)}, Doubt},
		"error after a part of the response": {facts{reach: unsent, err: failed, status: 200}, Doubt},
		"deadline":                           {facts{reach: sent, err: failed, ended: true}, Doubt},
	} {
		t.Run(name, func(t *testing.T) {
			if got := conclude(c.facts, []int{408, 425, 429}); got.act != c.want {
				t.Errorf("got %s for %q, want %s", got.act, got.reason, c.want)
			}
		})
	}
}

// Whatever happens, a request that may have been sent is never released by a failure, and one that was not answered
// whole is never an answer.
func TestConcludeInvariants(t *testing.T) {
	statuses := []int{0, 101, 200, 201, 303, 400, 408, 429, 499, 500, 502, 503, 504}
	for n := range 1 << 6 * len(statuses) {
		bits := n / len(statuses)
		bit := func(i int) bool { return bits>>i&1 == 1 }
		f := facts{
			status: statuses[n%len(statuses)], vetoed: bit(0), panicked: bit(1), ended: bit(2), complete: bit(3), retry: bit(4),
			reach: sent,
		}
		if bit(5) {
			f.err = errors.New("x")
		}
		plan := conclude(f, []int{429})
		clean := f.err == nil && !f.panicked && !f.vetoed && f.complete && f.status >= 200 && f.status != 499
		if plan.act != Doubt && !clean {
			t.Errorf("%+v: %s", f, plan.act)
		}
	}
}

// subrequestOf writes the header of forward_auth's subrequest; HTTP/2 has it in lower case.
func subrequestOf(g *guard) {
	g.wroteField("x-forwarded-method", []string{"POST"})
	g.wroteField("X-Forwarded-Uri", []string{"/"})
}

// The deadline may pass while the header is being written.
func TestReachAtTheDeadline(t *testing.T) {
	g := new(guard)
	g.watch(t.Context())
	defer g.end()
	g.getConn("")
	if got := g.reached(t.Context().Err(), true); got != unsent {
		t.Errorf("without a connection: got %d, want %d", got, unsent)
	}
	g.gotConn(httptrace.GotConnInfo{})
	if got := g.reached(t.Context().Err(), true); got != sent {
		t.Errorf("with a connection: got %d, want %d", got, sent)
	}
}

func TestReach(t *testing.T) {
	dial := reverseproxy.DialError{}
	for name, c := range map[string]struct {
		do   func(g *guard)
		err  error
		want reach
	}{
		"nothing known":        {func(*guard) {}, errors.New("x"), unproven},
		"no error":             {func(*guard) {}, nil, unproven},
		"dial error":           {func(*guard) {}, dial, unsent},
		"no upstream":          {func(*guard) {}, caddyhttp.Error(503, errors.New("no upstreams available")), unsent},
		"asked":                {func(g *guard) { g.getConn("") }, errors.New("x"), unsent},
		"sent":                 {func(g *guard) { g.getConn(""); g.wroteHeaders() }, nil, sent},
		"sent, then dial":      {func(g *guard) { g.getConn(""); g.wroteHeaders(); g.getConn("") }, dial, sent},
		"forward_auth":         {func(g *guard) { g.getConn(""); subrequestOf(g); g.wroteHeaders(); g.getConn("") }, nil, unsent},
		"and then the app":     {func(g *guard) { subrequestOf(g); g.wroteHeaders(); g.getConn(""); g.wroteHeaders() }, nil, sent},
		"and then FastCGI":     {func(g *guard) { g.getConn(""); subrequestOf(g); g.wroteHeaders() }, errors.New("x"), unproven},
		"its fields on a POST": {func(g *guard) { subrequestOf(g); g.wroteField("Content-Length", []string{"0"}); g.wroteHeaders() }, nil, sent},
		"on one of HTTP/2":     {func(g *guard) { g.wroteField(":method", []string{"POST"}); subrequestOf(g); g.wroteHeaders() }, nil, sent},
		"stuck in the header":  {func(g *guard) { g.getConn(""); g.wroteField(":method", []string{"POST"}) }, errors.New("x"), sent},
		"FastCGI again":        {func(g *guard) { g.connectDone("tcp", "", nil); g.connectStart("tcp", "") }, dial, sent},
		"FastCGI refused":      {func(g *guard) { g.connectDone("tcp", "", dial); g.connectStart("tcp", "") }, dial, unsent},
		"names looked up":      {func(g *guard) { g.connectDone("udp", "", nil); g.connectStart("tcp", "") }, dial, unsent},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guard{hasContent: true}
			g.watch(t.Context())
			defer g.end()
			c.do(g)
			if got := g.reached(c.err, false); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestFieldsKept(t *testing.T) {
	filter, err := newFieldFilter([]string{"X-Order-*", "Retry-After"})
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	for _, name := range []string{
		"Content-Type", "Content-Encoding", "Content-Length", "Location", "ETag", "X-Order-Id", "Retry-After", "X-Other", "Set-Cookie",
		"Date", "Server", "Connection", "Trailer", "Www-Authenticate", "Traceparent", "Idempotency-Policy", "RateLimit",
	} {
		header.Set(name, "x")
	}
	kept := filter.keep(header)
	for _, name := range []string{"Content-Type", "Content-Encoding", "Location", "Etag", "X-Order-Id", "Retry-After"} {
		if kept[name] == nil {
			t.Errorf("%s is not kept", name)
		}
		delete(kept, name)
	}
	if len(kept) > 0 {
		t.Errorf("kept too: %v", kept)
	}
	for _, pattern := range []string{"Set-Cookie", "set-cookie", "connection", "", "*", "a b"} {
		if _, err := newFieldFilter([]string{pattern}); err == nil {
			t.Errorf("%q is accepted", pattern)
		}
	}
	if filter, err := newFieldFilter([]string{"S*"}); err != nil || filter.keep(header)["Set-Cookie"] != nil {
		t.Errorf("a pattern keeps Set-Cookie (%v)", err)
	}
}

func TestInnerAuthentication(t *testing.T) {
	auth, key, proxy := map[string]any{"handler": "authentication"}, map[string]any{"handler": "idempotency_key"}, map[string]any{"handler": "reverse_proxy"}
	route := func(handlers ...any) any { return map[string]any{"handle": handlers} }
	sub := func(routes ...any) any { return map[string]any{"handler": "subroute", "routes": routes} }
	for name, c := range map[string]struct {
		site any
		want bool
	}{
		"none":               {sub(route(key), route(proxy)), false},
		"before":             {sub(route(auth), route(key), route(proxy)), false},
		"in a block behind":  {sub(route(key), route(sub(route(auth, proxy)))), true},
		"both in the block":  {sub(route(sub(route(auth), route(key), route(proxy)))), false},
		"in another block":   {sub(route(sub(route(key, proxy))), route(sub(route(auth), route(proxy)))), false},
		"deep in the blocks": {sub(route(key), route(sub(route(sub(route(auth)))))), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := authenticatesBehind(c.site, new(bool)); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
