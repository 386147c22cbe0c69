// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package respcache is the response cache: a shared HTTP cache after RFC 9111, which streams what it fills, keeps to a budget
// of bytes, and forgets at once what is purged.
//
// What the standards rule is in pure functions, one idea a file:
//
//	cachecontrol.go, targeted.go   what headers say           freshness.go      how long an answer is fresh
//	storable.go                    what may be stored         reuse.go          what may be used
//	vary.go, accept.go             which variant answers      conditional.go    validation, both ways
//	freshen.go                     what a 304 changes         invalidate.go     what unsafe requests make invalid
//	ranges.go, partial.go          parts of a body            cachestatus.go    what the cache tells
//	novarysearch.go, key.go        queries and keys           tags.go           names to purge by
//
// The way of a request: respcache.go, pass.go and post.go (other methods, and what is none of the cache's business), fetch.go (who asks the upstream, who
// waits), refresh.go (in the background), lead.go and share.go (the answer as it comes), stream.go (its body), serve.go (a stored answer). What is kept: object.go, body.go and arena.go; cache.go and app.go
// outlive configs; generations.go and purge.go forget.
package respcache

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
)

// errOnlyIfCached is what error routes see as {err.message}.
var errOnlyIfCached = errors.New("nothing is stored that answers the request, and it asks for no more")

func init() { caddy.RegisterModule(Handler{}) }

// Handler is a shared cache in front of the handlers after it. It stores answers to GET that RFC 9111 allows a shared cache
// to store, and nothing with Set-Cookie; it answers GET and HEAD from them.
//
// Every answer carries Cache-Status (RFC 9211), which tells what was done and why. These placeholders are set, and so is the
// access-log field response_cache:
//
// Placeholder | Description
// ------------|------------
// `{http.gatehouse.response_cache.outcome}` | `hit`, `stale`, `stale_error`, `validated`, `collapsed`, `miss`, `pass`, `bypass`, `unsafe` or `error`
type Handler struct {
	// Budget is how many bytes all stored answers of the store may take: bodies, headers, keys and bookkeeping. Sites that
	// share a store give the same budget, or none. At least 1 MiB. Default (and zero): 256 MiB.
	Budget int64 `json:"budget,omitempty"`
	// MaxObject is how many bytes one body may have to be stored. Default (and zero): a 64th of the budget; it cannot be more
	// than a quarter of it.
	MaxObject int64 `json:"max_object,omitempty"`
	// InFlight is how many bytes bodies may take while they come in; what does not fit is passed through and not stored.
	// Default (and zero): a quarter of the budget.
	InFlight int64 `json:"in_flight,omitempty"`
	// Variants is how many answers are kept for one URI, the newest ones. Default (and zero): 16.
	Variants int `json:"variants,omitempty"`
	// StoreRaw is where answers are kept: a module of the namespace gatehouse.cache_stores. Default: ristretto.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=gatehouse.cache_stores inline_key=store"`

	// DefaultTTL is how long an answer of a heuristically cacheable status is fresh that says nothing about it, if the request
	// has neither Cookie nor Authorization. Default (and zero): such an answer is not stored, unless Last-Modified allows to guess.
	DefaultTTL caddy.Duration `json:"default_ttl,omitempty"`
	// StatusTTL is the same for single statuses, before DefaultTTL: also such as 404 or 503. Default: none.
	StatusTTL map[int]caddy.Duration `json:"status_ttl,omitempty"`
	// HeuristicMax bounds the lifetime that is guessed from Last-Modified, RFC 9111 section 4.2.2: a tenth of the time since
	// then. A negative one switches guessing off. Default (and zero): 24 h.
	HeuristicMax caddy.Duration `json:"heuristic_max,omitempty"`
	// Grace is how long a stale answer is used while it is refreshed in the background, if the answer does not say
	// (stale-while-revalidate, RFC 5861). Default (and zero): not at all.
	Grace caddy.Duration `json:"grace,omitempty"`
	// ServeStale is how long after its lifetime an answer is used while the upstream is down: it cannot be reached, or answers
	// 500, 502, 503 or 504. Answers with must-revalidate are not. Default (and zero): a minute while it cannot be reached, which
	// RFC 9111 section 4.2.4 allows, and as stale-if-error says for the rest. A negative one: as stale-if-error says.
	ServeStale caddy.Duration `json:"serve_stale,omitempty"`

	// Bypass are placeholders, such as {http.request.cookie.session}: if one of them is neither empty, 0 nor false, the request goes
	// to the upstream and its answer is not stored. Default: none.
	Bypass []string `json:"bypass,omitempty"`
	// Key is text with placeholders that becomes part of the key, besides the URI. Default: none.
	Key string `json:"key,omitempty"`
	// Query is how queries become part of the key. Default: as they are.
	Query *Query `json:"query,omitempty"`
	// IgnoreClientNoCache disregards no-cache, no-store, max-age and Pragma of requests, by which clients make the upstream
	// work. Default: false.
	IgnoreClientNoCache bool `json:"ignore_client_no_cache,omitempty"`
	// DryRun stores and decides, and lets every request go to the upstream; Cache-Status tells what would have been.
	// Default: false.
	DryRun bool `json:"dry_run,omitempty"`
	// Name is the value of the label site in metrics. Default: default.
	Name string `json:"name,omitempty"`

	cache        *cache
	policy       storagePolicy
	query        queryPolicy
	serveStale   time.Duration
	onlyIfCached *refusal.Refusal
	recorder     *decision.Recorder
	outcomes     [outcomes]prometheus.Counter
	told         [outcomes]any // their names, as placeholders hold them
}

// Query is how the query of a URI becomes part of the key. The upstream gets it as it is.
type Query struct {
	// Ignore are names of parameters that do not matter; a * at the end stands for anything. Default: none.
	Ignore []string `json:"ignore,omitempty"`
	// Only are the names of the parameters that matter. Default: all.
	Only []string `json:"only,omitempty"`
	// Sort says that the order of parameters does not matter. Default: false.
	Sort bool `json:"sort,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.response_cache", New: func() caddy.Module { return new(Handler) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	q := query{method: r.Method, header: r.Header, target: targetOf(r)}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return h.forwardUnsafe(w, r, next, &q)
	}
	if why := h.bypassed(r); why != "" {
		return h.bypass(w, r, next, why)
	}
	q.accepted = acceptedCodings(r.Header["Accept-Encoding"])
	q.directives = h.directivesOf(r.Header)
	q.key = q.target.key(h.query, &h.cache.searches, h.extraKey(r))
	return h.answer(w, r, next, &q)
}

// directivesOf are a request's directives, as far as the configuration heeds them.
func (h *Handler) directivesOf(header http.Header) directives {
	if len(header["Cache-Control"])+len(header["Pragma"]) == 0 {
		return noDirectives()
	}
	d := requestDirectives(header)
	if h.IgnoreClientNoCache {
		d.noCache, d.noStore, d.maxAge, d.minFresh = false, false, absent, absent
	}
	return d
}

// extraKey is the part of the key that the configuration adds.
func (h *Handler) extraKey(r *http.Request) string {
	if h.Key == "" {
		return ""
	}
	return strings.ReplaceAll(replacer(r).ReplaceAll(h.Key, ""), keySeparator, " ")
}

func replacer(r *http.Request) *caddy.Replacer {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		return repl
	}
	return caddy.NewEmptyReplacer()
}

// bypassed says why a request is none of the cache's business, if it is.
func (h *Handler) bypassed(r *http.Request) string {
	switch {
	case len(r.Header["Upgrade"]) > 0:
		return "upgrade"
	case strings.ContainsAny(r.Host, "/?#\\@"): // HTTP/2 and 3 let it pass; in a key it would be another host's path
		return "host"
	case overrides(r.Header):
		return "override"
	case r.ContentLength != 0: // a GET with content: what it means is between client and origin, RFC 9110 section 9.3.1
		return "content"
	case forOriginOnly(r.Header):
		return "precondition"
	case len(r.Header["Accept"]) > 0 && strings.HasPrefix(r.Header["Accept"][0], "text/event-stream"):
		return reasonStream
	}
	for _, condition := range h.Bypass {
		if value := replacer(r).ReplaceAll(condition, ""); value != "" && value != "0" && value != "false" {
			return "configured"
		}
	}
	return ""
}

// overrides reports whether a request has a field by which some frameworks take it for one of another method or path. What they
// answer then is no answer to others.
func overrides(h http.Header) bool {
	return len(h["X-Http-Method-Override"])+len(h["X-Http-Method"])+len(h["X-Method-Override"])+
		len(h["X-Original-Url"])+len(h["X-Rewrite-Url"]) > 0
}

// answer uses what is stored, or asks the upstream.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *query) error {
	o, soft, fwd := h.cache.lookup(q)
	if o == nil {
		if q.directives.onlyIfCached {
			return h.gatewayTimeout(w, r, q)
		}
		if h.DryRun {
			return h.fetch(w, r, next, &request{query: q, fwd: fwd, dry: "miss"})
		}
		return h.fetch(w, r, next, &request{query: q, fwd: fwd})
	}
	defer o.release()
	plan := planReuse(&o.terms, &q.directives, o.age(time.Now()), soft)
	if h.DryRun {
		return h.fetch(w, r, next, &request{query: q, fwd: fwdBypass, dry: plan.use.String()})
	}
	switch {
	case plan.use != validate:
		h.serveStored(w, r, next, q, o, plan)
		return nil
	case q.directives.onlyIfCached: // RFC 9111 section 5.2.1.7
		return h.gatewayTimeout(w, r, q)
	}
	return h.fetch(w, r, next, &request{query: q, fwd: plan.fwd, stale: o, reuse: plan})
}

// serveStored answers from the store.
func (h *Handler) serveStored(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *query, o *object, plan reuse) {
	status := cacheStatus{hit: true, ttl: plan.ttl, hasTTL: true, key: q.key}
	outcome := outcomeHit
	if plan.use != useFresh {
		outcome = outcomeStale
	}
	if plan.use == useAndRefresh {
		status.detail = h.refresh(r, next, q, o, plan)
	}
	h.outcomes[outcome].Inc()
	h.record(r, outcome)
	s := planServing(q, o)
	m := writeHead(w, o, &s, &status, plan.age, true)
	_ = o.writeBody(w, &s, m) // whose error is the client's, which may be gone
}

// record tells the access log and placeholders. Where the server writes no access log, the placeholder is enough: the rest
// would cost a hit a tenth of its time.
func (h *Handler) record(r *http.Request, o outcomeKind) {
	if server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server.Logs == nil {
		replacer(r).Set("http.gatehouse.response_cache.outcome", h.told[o])
		return
	}
	h.recorder.Record(r, o.String())
}

func (h *Handler) count(o outcomeKind) { h.outcomes[o].Inc() }

// maxObject is the largest body that is stored.
func (h *Handler) maxObject() int64 { return h.MaxObject }

// dryDetail tells what would have been, in a dry run.
func (q *query) dryDetail(status *cacheStatus) {
	if q.dry != "" {
		status.detail = "dry-run-" + q.dry
	}
}

// gatewayTimeout answers a request for what is stored alone, RFC 9111 section 5.2.1.7.
func (h *Handler) gatewayTimeout(w http.ResponseWriter, r *http.Request, q *query) error {
	status := cacheStatus{key: q.key, detail: "only-if-cached"}
	w.Header().Add("Cache-Status", status.String())
	h.count(outcomeMiss)
	h.record(r, outcomeMiss)
	return h.onlyIfCached.Answer(w, r)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
