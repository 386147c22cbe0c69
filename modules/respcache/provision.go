// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
)

const (
	defaultHeuristicMax = caddy.Duration(24 * time.Hour)
	defaultWhileDown    = caddy.Duration(time.Minute)
)

// Provision implements caddy.Provisioner.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.MaxObject = cmp.Or(h.MaxObject, cmp.Or(h.Budget, defaultBudget)/objectShare)
	h.Variants = cmp.Or(h.Variants, defaultVariants)
	h.HeuristicMax = cmp.Or(h.HeuristicMax, defaultHeuristicMax)
	h.Name = cmp.Or(h.Name, "default")
	if err := h.check(); err != nil {
		return fmt.Errorf("response_cache: %w", err)
	}
	h.serveStale = max(0, time.Duration(h.ServeStale))
	h.policy = storagePolicy{
		freshnessPolicy: freshnessPolicy{
			heuristicMax: max(0, time.Duration(h.HeuristicMax)), defaultTTL: time.Duration(h.DefaultTTL), statusTTL: map[int]time.Duration{},
		},
		grace:     time.Duration(h.Grace),
		whileDown: max(0, time.Duration(cmp.Or(h.ServeStale, defaultWhileDown))),
	}
	for status, ttl := range h.StatusTTL {
		h.policy.statusTTL[status] = time.Duration(ttl)
	}
	if h.Query != nil {
		h.query = queryPolicy{ignore: h.Query.Ignore, only: h.Query.Only, sort: h.Query.Sort}
	}
	h.recorder = decision.New("response_cache")
	h.outcomes = outcomeCounters(h.Name)
	for o := range outcomes {
		h.told[o] = o.String()
	}
	var err error
	h.onlyIfCached, err = refusal.New(refusal.Problem{
		Status: http.StatusGatewayTimeout,
		Detail: "Nothing is stored that answers the request, and it asks for no more.",
		Err:    errOnlyIfCached,
	})
	if err != nil {
		return err
	}
	return h.openStore(ctx)
}

// check refuses what no cache can work with.
func (h *Handler) check() error {
	budget := cmp.Or(h.Budget, defaultBudget)
	switch {
	case budget < minBudget || budget > maxBudget:
		return fmt.Errorf("budget: expected 1 MiB to 1 TiB (%d to %d bytes), found %d", minBudget, maxBudget, h.Budget)
	case h.MaxObject < 1 || h.MaxObject > budget/4:
		return fmt.Errorf("max_object: expected 1 byte to a quarter of the budget (%d bytes), found %d", budget/4, h.MaxObject)
	case h.InFlight < 0 || h.InFlight > maxBudget:
		return fmt.Errorf("in_flight: expected a number of bytes up to 1 TiB, found %d", h.InFlight)
	case h.Variants < 1:
		return fmt.Errorf("variants: expected a whole number of at least 1, found %d", h.Variants)
	case h.DefaultTTL < 0 || h.Grace < 0:
		return errors.New("default_ttl and grace: expected no negative duration")
	case max(h.DefaultTTL, h.Grace, h.ServeStale) > caddy.Duration(maxDelta):
		return errors.New("default_ttl, grace and serve_stale: expected at most 68 years")
	}
	for status, ttl := range h.StatusTTL {
		if status < 200 || status > 599 || status == 206 || status == 304 || ttl < 0 || ttl > caddy.Duration(maxDelta) {
			return fmt.Errorf("status_ttl: expected a status from 200 to 599 other than 206 and 304, and a duration of zero to 68 years, found %d %v",
				status, time.Duration(ttl))
		}
	}
	return nil
}

// openStore gets the cache that the handler works with.
func (h *Handler) openStore(ctx caddy.Context) error {
	app, err := ctx.App("response_caches")
	if err != nil {
		return fmt.Errorf("response_cache: %w", err)
	}
	raw := h.StoreRaw // loading clears it
	var guest any
	if raw != nil {
		guest, err = ctx.LoadModule(h, "StoreRaw")
	} else {
		id := StoreNamespace + "." + defaultStore
		if _, missing := caddy.GetModule(id); missing != nil {
			return fmt.Errorf("response_cache: the default store %s is not in this build, which has: %s; "+
				"build with the package that registers it, or choose a store by name", id, directive.Compiled(StoreNamespace))
		}
		guest, err = ctx.LoadModuleByID(id, nil)
	}
	if err != nil {
		return fmt.Errorf("response_cache: loading the store: %w", err)
	}
	opener, ok := guest.(Opener)
	if !ok {
		return fmt.Errorf("response_cache: module %T of namespace %s opens no store", guest, StoreNamespace)
	}
	if h.cache, err = app.(*App).use(h, opener, raw); err != nil {
		return fmt.Errorf("response_cache: %w", err)
	}
	return nil
}

var _ caddyhttp.MiddlewareHandler = (*Handler)(nil)
