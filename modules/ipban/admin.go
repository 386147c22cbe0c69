// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

const (
	// maxBody bounds a request's body: a million prefixes fit.
	maxBody = 64 << 20
	// A page of the list has defaultPage bans, and maxPage at most.
	defaultPage = 1000
	maxPage     = 100_000
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin serves the list of bans of the running config on the admin endpoint:
//
//	GET    /gatehouse/bans?limit=1000&after=203.0.113.7   the bans in force, by prefix
//	GET    /gatehouse/bans?dry_run=true                   those that would be, but for dry_run
//	POST   /gatehouse/bans                                bans prefixes
//	DELETE /gatehouse/bans?prefix=203.0.113.7             lifts bans; prefix may be repeated
//	GET    /gatehouse/bans/check?address=203.0.113.7      what becomes of a client
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse_bans", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/gatehouse/bans", Handler: methods{
			http.MethodGet: serveList, http.MethodPost: serveAdd, http.MethodDelete: serveRemove,
		}},
		{Pattern: "/gatehouse/bans/check", Handler: methods{http.MethodGet: serveCheck}},
	}
}

// methods serves one path: a function for each method, which answers with what it returns, as JSON.
type methods map[string]func(a *App, r *http.Request) (any, error)

// ServeHTTP implements caddy.AdminHandler.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if err := adminapi.Allow(w, r, slices.Collect(maps.Keys(m))...); err != nil {
		return err
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	if operator, ok := clientaddr.Parse(r.RemoteAddr); ok {
		app.list.operator.saw(operator, time.Now())
	}
	answer, err := m[r.Method](app, r)
	if err != nil {
		return err
	}
	return adminapi.Answer(w, answer)
}

// runningApp is the app of the running config.
func runningApp() (*App, error) {
	if err := adminapi.Running(); err != nil {
		return nil, err
	}
	app, err := caddy.ActiveContext().AppIfConfigured("ip_bans")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, adminapi.Refuse(http.StatusNotFound,
			"the running config has no list of bans: add ip_ban to a site, or ip_bans to the global options")
	}
	if err != nil {
		return nil, adminapi.Refuse(http.StatusInternalServerError, "%w", err)
	}
	return app.(*App), nil
}

// listAnswer is a page of the list.
type listAnswer struct {
	// Bans are the bans in force, sorted by prefix: IPv4 first, then by address, wider ones first.
	Bans []Ban `json:"bans"`
	// Next is what to pass as after for the next page; left out on the last one.
	Next string `json:"next,omitempty"`
}

func serveList(a *App, r *http.Request) (any, error) {
	query := r.URL.Query()
	limit, after := defaultPage, netip.Prefix{}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return nil, adminapi.Refuse(http.StatusBadRequest, "limit: expected a whole number from 1 to %d, found %q", maxPage, text)
		}
		limit = n
	}
	if text := query.Get("after"); text != "" {
		prefix, err := directive.Prefix(text)
		if err != nil {
			return nil, adminapi.Refuse(http.StatusBadRequest, "after: %w", err)
		}
		after = prefix
	}
	from := &a.list.table
	switch text := query.Get("dry_run"); text {
	case "", "false":
	case "true":
		from = &a.list.dry.table
	default:
		return nil, adminapi.Refuse(http.StatusBadRequest, "dry_run: expected true or false, found %q", text)
	}
	bans, more := from.page(after, limit)
	answer := listAnswer{Bans: append([]Ban{}, bans...)} // [], never null
	if more {
		answer.Next = bans[len(bans)-1].Prefix.String()
	}
	return answer, nil
}

// addRequest asks to ban prefixes.
type addRequest struct {
	// Prefixes are addresses and CIDRs, at least one.
	Prefixes []string `json:"prefixes"`
	// For is how long, such as "1h" or "7d"; empty is for good.
	For string `json:"for,omitempty"`
	// Reason is for people: at most 256 bytes, no control characters. It may be empty.
	Reason string `json:"reason,omitempty"`
	// Source is "manual", which is the default, or "import".
	Source string `json:"source,omitempty"`
	// SkipAllowed leaves out what the allow-list covers, which is an error otherwise.
	SkipAllowed bool `json:"skip_allowed,omitempty"`
}

// changeAnswer says what was done.
type changeAnswer struct {
	// Changed is how many prefixes were banned, or how many bans lifted.
	Changed int `json:"changed"`
	// Expires is when new bans end; left out if they do not, or were lifted.
	Expires time.Time `json:"expires,omitzero"`
	// Skipped are the prefixes that were left out for skip_allowed.
	Skipped []string `json:"skipped,omitempty"`
}

func serveAdd(a *App, r *http.Request) (any, error) {
	var req addRequest
	if err := adminapi.Read(r, maxBody, &req); err != nil {
		return nil, err
	}
	operator, _ := clientaddr.Parse(r.RemoteAddr)
	changes, skipped, err := req.plan(time.Now(), operator, a.coveredBy)
	if err != nil || len(changes) == 0 {
		return changeAnswer{Skipped: skipped}, err
	}
	if err := a.change(r, changes, "banned"); err != nil {
		return nil, err
	}
	return changeAnswer{len(changes), changes[0].Expires, skipped}, nil
}

func serveRemove(a *App, r *http.Request) (any, error) {
	changes, err := planRemoval(r.URL.Query()["prefix"], a.list)
	if err != nil {
		return nil, err
	}
	if err := a.change(r, changes, "lifted"); err != nil {
		return nil, err
	}
	return changeAnswer{Changed: len(changes)}, nil
}

// change puts an operator's changes, and logs them.
func (a *App) change(r *http.Request, changes []Change, what string) error {
	err := a.put(r.Context(), changes)
	switch {
	case errors.Is(err, ErrFull):
		return adminapi.Refuse(http.StatusInsufficientStorage, "%w; lift some, or raise max_bans", err)
	case err != nil:
		return adminapi.Refuse(http.StatusServiceUnavailable, "%w", err)
	}
	expires := zap.Skip()
	if at := changes[0].Expires; !at.IsZero() {
		expires = zap.Time("expires", at)
	}
	a.logger.Info("an operator changed the list of bans",
		zap.String("change", what),
		zap.Int("prefixes", len(changes)),
		zap.Stringer("first", changes[0].Prefix),
		zap.String("reason", changes[0].Reason),
		expires,
		zap.String("operator", r.RemoteAddr))
	return nil
}

// checkAnswer says what becomes of a client.
type checkAnswer struct {
	// Address is the address in question.
	Address string `json:"address"`
	// Banned says whether its requests are refused.
	Banned bool `json:"banned"`
	// DryRun says that they would be, but for dry_run in ip_bans.
	DryRun bool `json:"dry_run,omitempty"`
	// AllowedBy is the prefix of the allow-list that covers the address; left out if none does.
	AllowedBy string `json:"allowed_by,omitempty"`
	// Ban is the longest ban in force that covers the address, also if the allow-list wins; left out if none does.
	Ban *Ban `json:"ban,omitempty"`
	// Remaining is how long the ban lasts, such as "59m30s"; left out if it does not end.
	Remaining string `json:"remaining,omitempty"`
	// PastBans is how many bans of the client count when the next one's length is decided; left out if none.
	PastBans int `json:"past_bans,omitempty"`
	// DryRunBan is the ban that rules would have made, but for their dry_run; left out if none.
	DryRunBan *Ban `json:"dry_run_ban,omitempty"`
}

func serveCheck(a *App, r *http.Request) (any, error) {
	text := r.URL.Query().Get("address")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return nil, adminapi.Refuse(http.StatusBadRequest, "address: expected an IP address such as 203.0.113.7, found %q", text)
	}
	addr = addr.Unmap()
	v := a.judge(addr, func() bool { return false })
	answer := checkAnswer{Address: addr.String(), Banned: v.outcome == banned, DryRun: v.outcome == dryRun}
	if allowed, ok := a.coveredBy(netip.PrefixFrom(addr, addr.BitLen())); ok {
		answer.AllowedBy = allowed.String()
	}
	answer.PastBans = a.list.history.of(a.client(addr), time.Now()).level
	if prefix, e, ok := a.list.dry.table.find(addr); ok {
		ban := e.ban(prefix)
		answer.DryRunBan = &ban
	}
	if v.outcome != passed {
		answer.Ban = &v.ban
		if !v.ban.Expires.IsZero() {
			answer.Remaining = max(time.Until(v.ban.Expires), 0).Round(time.Second).String()
		}
	}
	return answer, nil
}

// coveredBy returns the prefix of the allow-list that covers all of p.
func (a *App) coveredBy(p netip.Prefix) (netip.Prefix, bool) { return a.allowed.LookupPrefixLPM(p) }

// Interface guards
var (
	_ caddy.AdminRouter  = (*Admin)(nil)
	_ caddy.AdminHandler = methods(nil)
)
