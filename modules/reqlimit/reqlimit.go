// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package reqlimit limits requests: the directive request_limit, the interface of the stores that count, and the admin routes
// and commands that look into them.
//
//	reqlimit.go, judge.go, settle.go   the way of a request    window/      the arithmetic
//	rule.go, limits.go                 who has which limit     key.go       who is limited
//	store.go, counting.go              where it is counted     headers.go   what clients are told
//	registry.go, offenders.go          what outlives a config  cost.go      what a request counts
package reqlimit

import (
	"encoding/json"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gaissmai/bart"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
)

func init() { caddy.RegisterModule(Handler{}) }

// Handler limits requests by a policy. All its windows are checked together, and a request counts in all of them or, when it
// is refused, in none. Counts belong to the policy's name: handlers, sites and, with a shared store, proxies that use one name
// count together, and must agree on its windows.
//
// These placeholders are set, and the access-log field request_limit, an object of the same values:
//
// Placeholder | Description
// ------------|------------
// `{http.gatehouse.request_limit.outcome}` | `passed`, `refused`, `dry_run`, `allow_listed` or `unlimited`
// `{http.gatehouse.request_limit.policy}` | The policy's name
// `{http.gatehouse.request_limit.remaining}` | How much is left, in the window that has least; if anything was counted
// `{http.gatehouse.request_limit.class}` | The entry of the table of limits that applied, if one did
// `{http.gatehouse.request_limit.mode}` | `local`, `open` or `closed` while the store is away
//
// Of several policies on one request they tell of the last one, but of a dry run before one that passed.
type Handler struct {
	// Name is the policy's name: letters, digits and ._/+-, at most 64. Default: made of the windows, such as "100/1m".
	Name string `json:"policy,omitempty"`
	// Key is who is limited: text with placeholders. The client's address in it is that of Caddy, which knows
	// trusted_proxies. An empty key, as of a header that is not there, is the client's address. Default: {client_ip}.
	Key string `json:"key,omitempty"`
	// IPv6Prefix is how much of an IPv6 address in the key makes a client: one customer is commonly assigned a /64 (RFC
	// 6177), in which it may change its address at will. From 32 to 128; default (and zero): 64.
	IPv6Prefix int `json:"ipv6_prefix,omitempty"`
	// Windows are the limits, at least one and at most 8; with concurrency, one.
	Windows []Window `json:"windows,omitempty"`
	// Algorithm is how to count: sliding, exact, smooth, gcra or concurrency. Default: sliding.
	Algorithm string `json:"algorithm,omitempty"`
	// Buckets is the number of a sliding window's buckets, 1 to 60. More of them waste less of the limit and take more
	// memory. Default (and zero): 15.
	Buckets int `json:"buckets,omitempty"`
	// Burst is how much GCRA lets through at once, at most the limit of any of Windows. A lower limit in Limits is its entry's
	// burst. Default (and zero): a tenth of each window's limit.
	Burst int64 `json:"burst,omitempty"`
	// Cost is how much a request counts: a whole number, or an expression in CEL in which placeholders stand for their
	// values. A value that is no number of at least zero counts as 1. Default: 1.
	Cost string `json:"cost,omitempty"`
	// CountDenied counts refused requests, too, so that a client that goes on stays refused. Default: false.
	CountDenied bool `json:"count_denied,omitempty"`
	// ChargeOn are the statuses of answers that count, such as 401; 4 stands for 400 to 499. A request is counted when it
	// comes and given back when its answer has another status, so that parallel guesses do not slip through. Default: all.
	ChargeOn []int `json:"charge_on,omitempty"`
	// Allow is who is never limited: addresses and CIDRs. Default: nobody.
	Allow []string `json:"allow,omitempty"`
	// Limits gives some keys other limits. Default: none.
	Limits *Limits `json:"limits,omitempty"`
	// Status is the HTTP status code of the refusal, 400 to 599. Default (and zero): 429.
	Status int `json:"status,omitempty"`
	// DryRun decides, counts and logs, and lets the request pass without a header. Default: false.
	DryRun bool `json:"dry_run,omitempty"`
	// Headers is what answers tell: standard (RateLimit and RateLimit-Policy), legacy (X-RateLimit-*), all or none.
	// Retry-After comes with a refusal in any case. Default: standard.
	Headers string `json:"headers,omitempty"`
	// Ban bans clients whose requests are refused too often, by the list of bans of ip_ban, which the server must have: each
	// refusal is a strike, save while the store is away. Default: nobody is banned.
	Ban *ipban.Rule `json:"ban,omitempty"`
	// StoreRaw is where requests are counted: a module of the namespace gatehouse.limit_stores. Default: redis if a default
	// Redis client is configured, else memory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=gatehouse.limit_stores inline_key=store"`
	// OnStoreError is what happens while the store is away: local (count here, with the limits divided by the proxies that
	// were last seen), open (let everybody pass) or closed (refuse with 503). Default: local.
	OnStoreError string `json:"on_store_error,omitempty"`

	storeText string // StoreRaw, which loading clears

	key      *key
	cost     *cost
	rules    *rules
	allowed  *bart.Lite
	counting counting
	charges  map[int]bool
	gives    bool // something is to be given back when the answer is known
	closed   *refusal.Refusal
	tell     telling
	tally    *tally
	striker  *ipban.Striker // nil without ban
	counts   [outcomes][modes]prometheus.Counter
	watch    *clientaddr.Watch
	recorder *decision.Recorder
	leases   []lease.Lease
	logger   *zap.Logger
}

// telling is which headers answers carry.
type telling struct{ standard, legacy bool }

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.request_limit", New: func() caddy.Module { return new(Handler) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	h.watch.See(r)
	s := scratches.Get().(*scratch)
	defer s.release()
	v := h.judge(r, s)
	h.counts[v.outcome][v.mode].Inc()
	h.tellOf(w, r, s, &v)
	switch {
	case v.outcome == refused && v.mode == modeClosed:
		w.Header()["Retry-After"] = []string{"1"}
		return h.closed.Answer(w, r)
	case v.outcome == refused:
		h.note(r, s, &v)
		return v.rule.refusals[s.result.Violated].Answer(w, r)
	case v.outcome == dryRun:
		h.note(r, s, &v)
	}
	if h.gives && v.counted {
		return h.serveAndGive(w, r, next, s, &v)
	}
	return next.ServeHTTP(w, r)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
