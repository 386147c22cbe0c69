// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package ipban bans clients by address: the directive and the matcher ip_ban, the app ip_bans with the list that both look
// clients up in, and the admin routes and commands that change it.
//
//	ipban.go, matcher.go, gate.go  the way of a request      judge.go    what is decided
//	listener.go                    the way of a connection   guards.go   which servers refuse
//	app.go                         the list's configuration  change.go   how the list is changed
//	list.go, feed.go               what outlives a config    table.go    the routing table
//	store.go                       where the list is kept    record.go   bans on their way there
//
// Clients that misbehave strike until a rule bans them:
//
//	striker.go, strikeon.go        who reports strikes       rule.go     what follows from them
//	strikes.go, history.go         what is counted           dryrun.go   what would follow
package ipban

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
)

// errBanned is what error routes see as {err.message}.
var errBanned = errors.New("the client's address is banned")

func init() { caddy.RegisterModule(Handler{}) }

// Handler refuses banned clients, by the site's error routes or a problem document.
//
// These placeholders are set when a ban covers the client, and so is the access-log field ip_ban:
//
// Placeholder | Description
// ------------|------------
// `{http.gatehouse.ip_ban.outcome}` | `banned`, `dry_run`, or `allow_listed`
// `{http.gatehouse.ip_ban.prefix}` | The prefix that is banned
// `{http.gatehouse.ip_ban.reason}` | The reason that was given for the ban, if any
type Handler struct {
	// Status is the HTTP status code of the refusal, 400 to 599. With 429 and 503, Retry-After says when a ban ends that does.
	// Default (and zero): 403.
	Status int `json:"status,omitempty"`
	// DryRun decides, logs and counts, and lets the client pass. Default: false.
	DryRun bool `json:"dry_run,omitempty"`
	// Close ends a refused client's HTTP/1 connection. Over HTTP/2 and 3 it does nothing. Default: false.
	Close bool `json:"close,omitempty"`
	// StrikeOn bans clients by the answers that they get. Default: none.
	StrikeOn []StrikeOn `json:"strike_on,omitempty"`

	strikes []striking
	gate    *gate
	refusal *refusal.Refusal
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ip_ban", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner.
func (h *Handler) Provision(ctx caddy.Context) error {
	var err error
	h.Status = cmp.Or(h.Status, http.StatusForbidden)
	h.refusal, err = refusal.New(refusal.Problem{
		Status: h.Status,
		Detail: "Requests from your address are not accepted.",
		Err:    errBanned,
	})
	if err != nil {
		return fmt.Errorf("ip_ban: status: %w", err)
	}
	if h.gate, err = newGate(ctx, "handler"); err != nil {
		return err
	}
	return h.provisionStrikes(ctx)
}

// Cleanup implements caddy.CleanerUpper.
func (h *Handler) Cleanup() error { return h.gate.release() }

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	outcome, expires := h.gate.decide(r, h.DryRun)
	if outcome != banned {
		if len(h.strikes) > 0 {
			return h.serveStriking(w, r, next)
		}
		return next.ServeHTTP(w, r)
	}
	if h.Close && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	if h.later() && !expires.IsZero() {
		seconds := max(int64(math.Ceil(time.Until(expires).Seconds())), 1)
		w.Header()["Retry-After"] = []string{strconv.FormatInt(seconds, 10)}
	}
	return h.refusal.Answer(w, r)
}

// later reports whether the status says that the client may come again, and Retry-After when (RFC 9110 section 10.2.3, RFC 6585
// section 4).
func (h *Handler) later() bool {
	return h.Status == http.StatusTooManyRequests || h.Status == http.StatusServiceUnavailable
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
