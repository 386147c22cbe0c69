// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package refusal is how a module says no: through the site's error routes where one would answer, and with a
// problem+json body (RFC 9457) where none would, so that a client never gets an empty page.
package refusal

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ContentType is the media type of a problem document, RFC 9457 section 3.
const ContentType = "application/problem+json"

// Problem describes a refusal in the members of RFC 9457 section 3.1.
type Problem struct {
	// Status is the HTTP status code, 400 to 599.
	Status int
	// Type is a URI that identifies the kind of problem. Default: "about:blank", which says no more than Status.
	Type string
	// Title is a short summary that is the same for every occurrence. Default: the status text.
	Title string
	// Detail tells this client what happened and what to do. Default: none. It is public: nothing secret goes in.
	Detail string
	// Extensions are further members, RFC 9457 section 3.2. They must not repeat a standard member. Default: none.
	Extensions map[string]any
	// Err is what logs and error routes see as {err.message}. Default: Title.
	Err error
}

// Refusal is a Problem made ready for the request path: its body is encoded once.
// It is immutable and safe for concurrent use.
type Refusal struct {
	err    caddyhttp.HandlerError
	body   []byte
	length string
}

// New encodes p. It returns an error if the status is no error status or an extension cannot be encoded.
func New(p Problem) (*Refusal, error) {
	if p.Status < 400 || p.Status > 599 {
		return nil, fmt.Errorf("refusing with status %d: expected 400 to 599", p.Status)
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	if p.Err == nil {
		p.Err = fmt.Errorf("%s", p.Title)
	}
	members := maps.Clone(p.Extensions)
	if members == nil {
		members = map[string]any{}
	}
	for name, value := range map[string]any{"type": p.Type, "title": p.Title, "status": p.Status, "detail": p.Detail} {
		if _, taken := members[name]; taken {
			return nil, fmt.Errorf("extension %q repeats a standard member", name)
		}
		if value != "" {
			members[name] = value
		}
	}
	body, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("encoding the problem document: %w", err)
	}
	return &Refusal{
		err:    caddyhttp.HandlerError{StatusCode: p.Status, Err: p.Err},
		body:   body,
		length: strconv.Itoa(len(body)),
	}, nil
}

// Status is the refusal's HTTP status code.
func (f *Refusal) Status() int { return f.err.StatusCode }

// Answer refuses r. The handler returns its result unchanged: either an error for the site's error routes to answer, or
// nil after the problem document was written. Headers that both answers must carry, such as Retry-After, are set by
// the caller before.
//
// An error route counts as answering when its matchers match and it holds a handler other than a subroute whose own
// routes do not match. Error routes of a subroute around the handler (JSON only) are not seen: there, the document wins.
func (f *Refusal) Answer(w http.ResponseWriter, r *http.Request) error {
	if hasAnswer(r, f.err) {
		return f.err
	}
	header := w.Header()
	header.Set("Content-Type", ContentType)
	header.Set("Content-Length", f.length)
	header.Set("Cache-Control", "no-store") // one client's refusal is no answer for another (RFC 9111 section 5.2.2.5)
	w.WriteHeader(f.err.StatusCode)
	_, err := w.Write(f.body)
	return err
}

// hasAnswer reports whether an error route of the request's server would answer err. Server.Errors belongs to the
// listener, which several sites share, so its presence alone says nothing about this request.
func hasAnswer(r *http.Request, err caddyhttp.HandlerError) bool {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil || server.Errors == nil || len(server.Errors.Routes) == 0 {
		return false
	}
	if _, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); !ok {
		return false
	}
	return anyAnswers(server.Errors.Routes, server.Errors.WithError(r, err))
}

// anyAnswers reports whether a route matches and holds a handler that answers. A matcher that fails counts as a match,
// so that its error is seen where errors are handled.
func anyAnswers(routes caddyhttp.RouteList, r *http.Request) bool {
	for _, route := range routes {
		if matched, err := route.MatcherSets.AnyMatchWithError(r); err == nil && !matched {
			continue
		}
		for _, handler := range route.Handlers {
			sub, nested := handler.(*caddyhttp.Subroute)
			if !nested || anyAnswers(sub.Routes, r) {
				return true
			}
		}
	}
	return false
}
