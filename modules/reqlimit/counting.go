// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// counting is where a policy's requests are counted, and what happens while that is away.
type counting struct {
	store   Counters
	shared  Shared   // the same, if it is shared
	local   Counters // while the store is away; nil with open and closed, and where the store is this process's memory
	onError mode
	tally   *tally
	logger  *zap.Logger
}

// take decides and counts. With modeOpen and modeClosed nothing was counted, and there is no result.
func (c *counting) take(ctx context.Context, s *scratch, rule *rule) (Counters, mode) {
	if c.shared != nil {
		ctx = context.WithoutCancel(ctx) // a client that goes must not look like a store that is away: the store has a deadline
	}
	err := c.store.Take(ctx, &s.ask, &s.result)
	if err == nil {
		c.tally.back(c.logger)
		return c.store, modeStore
	}
	c.tally.away(c.logger, err, c.onError)
	if c.local == nil {
		return nil, c.onError
	}
	if c.shared != nil {
		s.ask.Rule = rule.divided(c.shared.Proxies())
	}
	if err := c.local.Take(ctx, &s.ask, &s.result); err != nil {
		return nil, modeOpen // memory does not fail; if it did, it would be nobody's fault who asks
	}
	return c.local, modeLocal
}

// open loads the store and makes room for the policy.
func (h *Handler) open(ctx caddy.Context, spec Spec) error {
	store, err := backend.Load[Store](ctx, h, "StoreRaw", Namespace, h.StoreRaw)
	if err != nil {
		return err
	}
	if h.counting.store, err = store.Open(spec); err != nil {
		return err
	}
	h.counting.shared, _ = h.counting.store.(Shared)
	if h.rules.tables, _ = store.(Tables); h.rules.tables == nil && h.rules.table != "" {
		return fmt.Errorf("limits: the table %s needs a store that holds tables, as redis does", h.rules.table)
	}
	h.counting.onError = map[string]mode{"local": modeLocal, "open": modeOpen, "closed": modeClosed}[h.OnStoreError]
	if h.counting.onError == modeLocal && store.(caddy.Module).CaddyModule().ID.Name() == "memory" {
		h.counting.onError = modeOpen // memory is never away, and nothing else could count instead of it
	}
	if h.counting.onError != modeLocal {
		return nil
	}
	h.counting.local, err = openLocal(ctx, spec)
	return err
}

// openLocal makes room for counting here while the store is away.
func openLocal(ctx caddy.Context, spec Spec) (Counters, error) {
	id := Namespace + ".memory"
	if _, err := caddy.GetModule(id); err != nil {
		return nil, fmt.Errorf("on_store_error: local needs %s, which is not in this build (it has: %s); "+
			"build with the package that registers it, or choose open or closed", id, directive.Compiled(Namespace))
	}
	guest, err := ctx.LoadModuleByID(id, nil)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", id, err)
	}
	store, ok := guest.(Store)
	if !ok {
		return nil, fmt.Errorf("%s (%T) does not implement reqlimit.Store", id, guest)
	}
	return store.Open(spec)
}
