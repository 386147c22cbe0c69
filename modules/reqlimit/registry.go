// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

var (
	// tallies holds what outlives a config of each policy, by name.
	tallies = caddy.NewUsagePool()
	// configs holds each config's policies.
	configs = caddy.NewUsagePool()
)

// tally is what is known of a policy besides its counts.
type tally struct {
	name      string
	offenders offenders
	lost      prometheus.Counter
	isAway    atomic.Bool
	loudAt    atomic.Int64 // Unix time, in seconds, of the last line that loud allowed
}

// takeTally returns the tally of a policy.
func takeTally(name string) (*tally, lease.Lease, error) {
	return lease.Take(tallies, name, func() (*tally, error) {
		return &tally{name: name, lost: metrics().lost.WithLabelValues(name)}, nil
	})
}

// Destruct implements caddy.Destructor: a policy that is gone leaves no series.
func (t *tally) Destruct() error {
	metrics().forget(t.name)
	return nil
}

// away notes that the store failed, and logs it when it begins.
func (t *tally) away(logger *zap.Logger, err error, m mode) {
	if !t.isAway.Load() && t.isAway.CompareAndSwap(false, true) {
		logger.Warn("the store of limits is away", zap.String("policy", t.name), zap.Stringer("meanwhile", m), zap.Error(err))
	}
}

// back notes that the store answered.
func (t *tally) back(logger *zap.Logger) {
	if t.isAway.Load() && t.isAway.CompareAndSwap(true, false) {
		logger.Info("the store of limits is back", zap.String("policy", t.name))
	}
}

// loud allows a line a second.
func (t *tally) loud() bool {
	now := time.Now().Unix()
	last := t.loudAt.Load()
	return last != now && t.loudAt.CompareAndSwap(last, now)
}

// policies are the policies of one config, by name.
type policies struct {
	mu     sync.Mutex // guards byName
	byName map[string]*Handler
}

// configKey identifies the config that ctx belongs to: its metrics registry is new with each, and the same in all of one.
func configKey(ctx caddy.Context) string { return fmt.Sprintf("%p", ctx.GetMetricsRegistry()) }

// join adds a handler to its config's policies. One of the same name must count alike.
func (h *Handler) join(ctx caddy.Context) (lease.Lease, error) {
	p, l, err := lease.Take(configs, configKey(ctx), func() (*policies, error) {
		return &policies{byName: map[string]*Handler{}}, nil
	})
	if err != nil {
		return l, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	other, ok := p.byName[h.Name]
	if !ok {
		p.byName[h.Name] = h
		return l, nil
	}
	if a, b := other.describe(), h.describe(); a != b {
		return l, fmt.Errorf("policy %s is configured twice and differently, once as %s and once as %s; "+
			"requests count by the policy's name, so give one of them another", h.Name, a, b)
	}
	return l, nil
}

// Destruct implements caddy.Destructor.
func (*policies) Destruct() error { return nil }

// all lists the handlers, one a policy, by name.
func (p *policies) all() []*Handler {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*Handler
	for _, name := range slices.Sorted(maps.Keys(p.byName)) {
		list = append(list, p.byName[name])
	}
	return list
}

// find returns a handler of the policy, or nil.
func (p *policies) find(name string) *Handler {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byName[name]
}

// running returns the policies of the running config.
func running() *policies {
	var found *policies
	key := configKey(caddy.ActiveContext())
	configs.Range(func(k, value any) bool {
		if k == key {
			found, _ = value.(*policies)
		}
		return found == nil
	})
	return found
}

// describe says how a policy counts: what all handlers of its name must agree on.
func (h *Handler) describe() string {
	text := fmt.Sprintf("%v %s by %s", h.Windows, h.Algorithm, h.key.template)
	if h.IPv6Prefix != defaultIPv6Prefix {
		text += fmt.Sprintf(" ipv6_prefix %d", h.IPv6Prefix)
	}
	if h.Algorithm == Sliding && h.Buckets != 0 {
		text += fmt.Sprintf(" buckets %d", h.Buckets)
	}
	if h.Burst != 0 {
		text += fmt.Sprintf(" burst %d", h.Burst)
	}
	if h.CountDenied {
		text += " count_denied"
	}
	if h.Limits != nil {
		text += fmt.Sprintf(" limits %v", *h.Limits)
	}
	if h.storeText != "" {
		text += " store " + h.storeText
	}
	return text
}
