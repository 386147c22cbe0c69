// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(ConsistentHash))
}

const (
	consistentHash   = "consistent_hash"
	policyNamespace  = "http.reverse_proxy.selection_policies"
	defaultFallback  = "least_conn"
	defaultFactor    = 2.0
	defaultShare     = 0.25
	defaultAbove     = 4
	defaultHalfLife  = caddy.Duration(10 * time.Second)
	maxBalanceFactor = 1000
	shortestHalfLife = caddy.Duration(time.Second)
	largestShare     = 100
	smallestShare    = 0.001
	highestAbove     = 1_000_000
)

// ConsistentHash is a selection policy that sends requests with the same key to the same upstream, by weighted
// rendezvous hashing. Every proxy with the same upstream names and weights makes the same choice, without talking to the
// others. An upstream that is added, removed or weighed anew moves only the keys that it wins or loses.
//
// A request goes to its key's next choice if the first one is unavailable, drained, has failed this request before, or
// holds far more requests than the others (see balance_factor). A few keys with a very large share of the traffic are
// spread over several of their choices (see hot_keys).
//
// A request without the key goes where the fallback policy sends it.
type ConsistentHash struct {
	// Key is what requests are told apart by: "client_ip" (with trusted_proxies honoured), "header", "cookie", "query",
	// "uri" (path and query), or "placeholder". Default: client_ip.
	Key string `json:"key,omitempty"`

	// Name is the name of the header field, cookie or query parameter. The first value counts. Required for these keys,
	// and an error for others.
	Name string `json:"name,omitempty"`

	// Placeholders are one or more texts with request placeholders, expanded for each request, that together are the key
	// "placeholder". The key is empty if all of them are. An error for other keys.
	Placeholders []string `json:"placeholders,omitempty"`

	// FallbackRaw is the selection policy for requests with an empty key. Default: least_conn.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`

	// Weights are shares of the keys relative to each other, from 0.001 to 1000, by dial address as in the handler's
	// upstreams. Default: 1 for each upstream that is not named. A name that the handler does not have is an error, unless
	// its upstreams are dynamic. An operator's weight (POST /gatehouse/upstreams/weight) takes precedence.
	Weights map[string]float64 `json:"weights,omitempty"`

	// Source is where a Caddyfile has the policy, file and line, for errors about weights: these are found only when
	// the upstreams are known. Default: none.
	Source string `json:"source,omitempty"`

	// BalanceFactor bounds the load: an upstream is passed over while it would hold more than this many times its fair
	// part of the requests in flight, by weight, the new one included. From 1 to 1000; 1.25 spreads evenly at the cost of
	// cache hits. Default, also for zero: 2, and then only an upstream that holds 16 requests or more is passed over, so
	// that a few parallel requests of one client stay together.
	BalanceFactor float64 `json:"balance_factor,omitempty"`

	// Unbounded switches the bound off. It excludes balance_factor. Default: false.
	Unbounded bool `json:"unbounded,omitempty"`

	// HotKeys is how keys with a very large share of the traffic are spread. Default: spread, with the defaults of each
	// field.
	HotKeys *HotKeys `json:"hot_keys,omitempty"`

	// Health are active checks of the upstreams. Default: none.
	Health *Health `json:"health,omitempty"`

	proxy    proxy
	resolver resolver[*ranking]
	key      keyFunc
	fallback reverseproxy.Selector
	rule     rule
}

// HotKeys configures how keys with a very large share of the traffic are spread: over as many of the key's first choices
// as it takes for each to get no more than the share below, to the one with the least requests in flight. Shares are
// measured by each proxy for itself, over the last seconds, in a sketch of 6 KiB. Only keys with more than about 256
// requests within the half-life are looked at, and at most 64 upstreams serve one key.
type HotKeys struct {
	// Off sends every key to one upstream, however hot it is. Default: false.
	Off bool `json:"off,omitempty"`

	// Share is how much of an upstream's fair part of the traffic one key may bring to it, from 0.001 to 100. With
	// 0.25 and ten upstreams, a key with more than 2.5 % of the traffic is spread. Default, also for zero: 0.25.
	Share float64 `json:"share,omitempty"`

	// HalfLife is the time after which a request counts half, at least 1s. Default, also for zero: 10s.
	HalfLife caddy.Duration `json:"half_life,omitempty"`

	// Above keeps a hot key at its first choice while that one holds fewer requests in flight than this. Default, also for
	// zero: 4.
	Above int `json:"above,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*ConsistentHash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  policyNamespace + "." + consistentHash,
		New: func() caddy.Module { return new(ConsistentHash) },
	}
}

// Provision sets up the policy and attaches it to its handler.
func (p *ConsistentHash) Provision(ctx caddy.Context) error {
	if p.Key == "" {
		p.Key = keyClientIP
	}
	var err error
	if p.key, err = newKeyFunc(p.Key, p.Name, p.Placeholders); err != nil {
		return err
	}
	if p.rule, err = p.newRule(); err != nil {
		return err
	}
	if p.proxy, err = attach(ctx, consistentHash, p.Weights); err != nil {
		return located(err, p.Source)
	}
	if err = p.proxy.checkHealth(ctx, p.Health); err != nil {
		return err
	}
	p.resolver = resolver[*ranking]{
		registry: registered,
		static:   p.proxy.static,
		health:   p.proxy.health,
		derive: func(upstreams []*upstream) *ranking {
			return newRanking(upstreams, p.Weights).without(p.proxy.health.down(upstreams))
		},
	}
	return p.loadFallback(ctx)
}

func (p *ConsistentHash) loadFallback(ctx caddy.Context) error {
	var fallback any
	var err error
	if p.FallbackRaw != nil {
		fallback, err = ctx.LoadModule(p, "FallbackRaw")
	} else {
		fallback, err = ctx.LoadModuleByID(policyNamespace+"."+defaultFallback, nil)
	}
	if err != nil {
		return fmt.Errorf("loading the fallback policy: %w", err)
	}
	var ok bool
	if p.fallback, ok = fallback.(reverseproxy.Selector); !ok {
		return fmt.Errorf("fallback %T is not a selection policy", fallback)
	}
	return nil
}

// newRule checks the options and gives those that are left out their defaults.
func (p *ConsistentHash) newRule() (rule, error) {
	r := rule{factor: p.BalanceFactor, above: defaultAbove}
	switch {
	case p.Unbounded && p.BalanceFactor != 0:
		return rule{}, errors.New("unbounded excludes balance_factor")
	case p.Unbounded:
		// factor 0
	case p.BalanceFactor == 0:
		r.factor, r.least = defaultFactor, safeLoad
	case !(p.BalanceFactor >= 1 && p.BalanceFactor <= maxBalanceFactor):
		return rule{}, fmt.Errorf("balance_factor: expected a number from 1 to %d, found %g", maxBalanceFactor, p.BalanceFactor)
	}
	if p.HotKeys != nil && p.HotKeys.Above != 0 {
		r.above = int64(p.HotKeys.Above)
	}
	var err error
	r.hot, err = p.HotKeys.sketch()
	return r, err
}

// sketch checks the options and returns the sketch for them, nil if hot keys are not to be spread.
func (h *HotKeys) sketch() (*hotKeys, error) {
	options := HotKeys{}
	if h != nil {
		options = *h
	}
	if options.Off {
		if options != (HotKeys{Off: true}) {
			return nil, errors.New("hot_keys: off excludes the other options")
		}
		return nil, nil
	}
	if options.Share == 0 {
		options.Share = defaultShare
	}
	if options.HalfLife == 0 {
		options.HalfLife = defaultHalfLife
	}
	halfLife := time.Duration(options.HalfLife)
	switch {
	case !(options.Share >= smallestShare && options.Share <= largestShare):
		return nil, fmt.Errorf("hot_keys: share: expected a number from %g to %d, found %g", smallestShare, largestShare, options.Share)
	case options.HalfLife < shortestHalfLife:
		return nil, fmt.Errorf("hot_keys: half_life: expected at least 1s, found %s", halfLife)
	case options.Above < 0 || options.Above > highestAbove:
		return nil, fmt.Errorf("hot_keys: above: expected 1 to %d, found %d", highestAbove, options.Above)
	}
	return newHotKeys(options.Share, halfLife), nil
}

// Cleanup gives back what Provision took.
func (p *ConsistentHash) Cleanup() error { return p.proxy.release() }

// Select implements reverseproxy.Selector. Where every upstream that is left is unhealthy in Caddy's eyes, these serve better
// than none. It returns nil if no upstream is available all the same.
func (p *ConsistentHash) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if len(pool) == 0 {
		return nil
	}
	chosen := p.choose(pool, r, w)
	if chosen == nil && p.proxy.handler.CB == nil { // a circuit breaker speaks for the whole handler
		seen := likeness(pool)
		if i := slices.Index(seen, p.choose(seen, r, w)); i >= 0 {
			chosen = pool[i]
		}
	}
	return chosen
}

// choose returns the upstream for the request, nil if no upstream is available.
func (p *ConsistentHash) choose(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	s := p.resolver.resolve(pool)
	failed := p.proxy.retries.failed(r)
	key, ok := p.key(r)
	if !ok {
		return p.fallback.Select(s.open(pool, failed), r, w)
	}
	chosen := p.rule.choose(s.derived, pool, key, failed)
	if chosen == nil && s.panics && s.derived.everybody != nil {
		return p.rule.choose(s.derived.everybody, pool, key, failed)
	}
	return chosen
}

// Interface guards
var (
	_ reverseproxy.Selector = (*ConsistentHash)(nil)
	_ caddy.Provisioner     = (*ConsistentHash)(nil)
	_ caddy.CleanerUpper    = (*ConsistentHash)(nil)
)
