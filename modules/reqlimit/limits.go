// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

const (
	defaultRefresh = 10 * time.Second
	// tableRetry is how soon an entry is read again that could not be read.
	tableRetry = time.Second
	// maxEntries bounds how many entries of a table in the store are remembered, and maxEntry their names in bytes.
	maxEntries, maxEntry = 10_000, 256
	// maxEvery bounds how many rules an operator is shown of a key, and resets at once.
	maxEvery = 200
)

// Limits gives keys limits by an entry in a table: a customer's plan, for instance. A request whose entry is not in the
// table has the policy's windows.
type Limits struct {
	// By names the entry: text with placeholders, such as {http.auth.user.plan}.
	By string `json:"by"`
	// Classes are the entries of a table in the configuration, with their windows. One without windows is unlimited.
	Classes map[string][]Window `json:"classes,omitempty"`
	// Table is the name of a table in the store, whose entries change without a reload. It is asked for entries that Classes
	// has not. Default: none.
	Table string `json:"table,omitempty"`
	// Refresh is how long an entry of Table is remembered before it is read again, at least 100 ms. Default (and zero): 10s.
	Refresh caddy.Duration `json:"refresh,omitempty"`
}

// check finds what cannot be meant.
func (l *Limits) check(h *Handler) error {
	switch {
	case l == nil:
		return nil
	case l.By == "":
		return fmt.Errorf("limits: expected a placeholder that names the entry")
	case len(l.Classes) == 0 && l.Table == "":
		return fmt.Errorf("limits: expected entries, or a table in the store")
	case l.Table != "" && !validName(l.Table):
		_, err := policyName(l.Table)
		return fmt.Errorf("limits: table: %w", err)
	case l.Refresh != 0 && time.Duration(l.Refresh) < 100*time.Millisecond:
		return fmt.Errorf("limits: refresh: expected at least 100ms, found %q", shortDuration(time.Duration(l.Refresh)))
	}
	for _, name := range slices.Sorted(maps.Keys(l.Classes)) {
		windows := l.Classes[name]
		if len(windows) > window.MaxWindows || h.Algorithm == Concurrency && len(windows) > 1 {
			return fmt.Errorf("limits: %s: too many windows, %d", name, len(windows))
		}
		for _, w := range windows {
			if err := w.check(h.Algorithm); err != nil {
				return fmt.Errorf("limits: %s: %w", name, err)
			}
		}
	}
	return nil
}

// rules finds the rule of a request.
type rules struct {
	own     *rule
	by      string           // the placeholder that names the entry; "" if there is no table
	classes map[string]*rule // nil entries are unlimited
	windows int              // how many a rule has at most
	limit   int64            // the highest of one

	handler *Handler
	table   string
	refresh time.Duration
	tables  Tables // where the table is; nil without one
	mu      sync.RWMutex
	read    map[string]*entry // guarded by mu
}

// entry is what was last read of an entry of the store's table.
type entry struct {
	rule    *rule // nil is unlimited
	found   bool
	expires time.Time
}

func (h *Handler) newRules() (*rules, error) {
	rs := &rules{windows: len(h.Windows), handler: h}
	var err error
	if rs.own, err = h.newRule("", h.Windows); err != nil {
		return nil, err
	}
	for _, w := range h.Windows {
		rs.limit = max(rs.limit, w.Limit)
	}
	if h.Limits == nil {
		return rs, nil
	}
	rs.by, rs.classes, rs.table = h.Limits.By, map[string]*rule{}, h.Limits.Table
	rs.refresh, rs.read = time.Duration(h.Limits.Refresh), map[string]*entry{}
	if rs.refresh == 0 {
		rs.refresh = defaultRefresh
	}
	for name, windows := range h.Limits.Classes {
		if rs.classes[name], err = h.newRule(name, windows); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		rs.windows = max(rs.windows, len(windows))
		for _, w := range windows {
			rs.limit = max(rs.limit, w.Limit)
		}
	}
	return rs, nil
}

// of returns the request's rule, or nil for no limit.
func (rs *rules) of(r *http.Request) *rule {
	if rs.by == "" {
		return rs.own
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return rs.own
	}
	name := repl.ReplaceAll(rs.by, "")
	if found, ok := rs.classes[name]; ok {
		return found
	}
	if rs.table == "" || name == "" || len(name) > maxEntry {
		return rs.own
	}
	return rs.ofTable(r.Context(), name)
}

// ofTable returns the rule of an entry of the store's table.
func (rs *rules) ofTable(ctx context.Context, name string) *rule {
	rs.mu.RLock()
	e := rs.read[name]
	rs.mu.RUnlock()
	if e == nil || time.Now().After(e.expires) {
		e = rs.fetch(ctx, name, e)
	}
	if !e.found {
		return rs.own
	}
	return e.rule
}

// fetch reads an entry. While the store is away, or if the entry is faulty, what was known before stays.
func (rs *rules) fetch(ctx context.Context, name string, before *entry) *entry {
	now := time.Now()
	e := &entry{expires: now.Add(rs.refresh)}
	if before != nil {
		e.rule, e.found = before.rule, before.found
		rs.remember(name, &entry{e.rule, e.found, e.expires}) // so that others do not ask, too
	}
	// A client that goes must not leave its entry unknown; the store has a deadline of its own.
	text, err := rs.tables.Limits(context.WithoutCancel(ctx), rs.table, name)
	if err != nil {
		e.expires = now.Add(min(rs.refresh, tableRetry))
		return rs.remember(name, e)
	}
	if text == "" {
		return rs.remember(name, &entry{expires: e.expires})
	}
	windows, err := parseWindows(text)
	if err == nil && (len(windows) > rs.windows) {
		err = fmt.Errorf("expected at most %d windows, as many as the policy has, found %d", rs.windows, len(windows))
	}
	var found *rule
	if err == nil {
		found, err = rs.handler.newRule(name, windows)
	}
	if err != nil {
		rs.handler.logger.Warn("an entry of a table of limits is faulty", zap.String("policy", rs.handler.Name),
			zap.String("table", rs.table), zap.String("entry", name), zap.Error(err))
		return rs.remember(name, e)
	}
	return rs.remember(name, &entry{found, true, e.expires})
}

// remember keeps an entry. When there are too many, those that are out of date go, then any.
func (rs *rules) remember(name string, e *entry) *entry {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if _, known := rs.read[name]; !known && len(rs.read) >= maxEntries {
		now := time.Now()
		maps.DeleteFunc(rs.read, func(_ string, old *entry) bool { return now.After(old.expires) })
		for other := range rs.read {
			if len(rs.read) < maxEntries*9/10 {
				break
			}
			delete(rs.read, other)
		}
	}
	rs.read[name] = e
	return e
}

// every lists the rules that are known, for those who look into the counts. Of the entries of the table in the store these are
// the ones that requests were counted by lately; of those with the same windows, one.
func (rs *rules) every() []*rule {
	list := []*rule{rs.own}
	for _, name := range slices.Sorted(maps.Keys(rs.classes)) {
		if r := rs.classes[name]; r != nil {
			list = append(list, r)
		}
	}
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	type windows struct {
		shape  uint64
		policy string
	}
	known := map[windows]bool{}
	for _, r := range list {
		known[windows{r.Shape, r.policy}] = true
	}
	for _, name := range slices.Sorted(maps.Keys(rs.read)) {
		r := rs.read[name].rule
		if r != nil && !known[windows{r.Shape, r.policy}] && len(list) < maxEvery {
			known[windows{r.Shape, r.policy}] = true
			list = append(list, r)
		}
	}
	return list
}
