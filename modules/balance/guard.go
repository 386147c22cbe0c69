// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

func init() {
	caddy.RegisterModule(new(Guard))
}

const guard = "guard"

// Guard is a selection policy around any other one: that one chooses, among the upstreams that the guard lets it see. An
// upstream is left out while it is drained, while active checks find it down, after it has failed the request before, and
// while it is ejected because it fails more than the others; a new or recovered one is let in slowly.
//
// The guard never refuses a request because upstreams are ill: it ejects only a part of the pool, and when too few are
// left, by its own judgment or by that of Caddy's health checks, it lets the policy choose among all.
type Guard struct {
	// InnerRaw is the policy that chooses. It may be any but least_response_time, least_bandwidth and guard, which eject
	// upstreams themselves. It must not keep the pool that it is given beyond its choice. Default: least_conn.
	InnerRaw json.RawMessage `json:"inner,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`

	// Weights are shares of the requests relative to each other, from 0.001 to 1000, by dial address as in the handler's
	// upstreams; least_conn and random_choose compare requests in flight by weight. Default: 1 for each upstream that is
	// not named. A name that the handler does not have is an error, unless its upstreams are dynamic; so are weights around
	// first, which goes by order, and around weighted_round_robin and consistent_hash, which have their own. An operator's
	// weight (POST /gatehouse/upstreams/weight) takes precedence, save around first.
	Weights map[string]float64 `json:"weights,omitempty"`

	// Source is where a Caddyfile has the policy, file and line, for errors about weights: these are found only when
	// the upstreams are known. Default: none.
	Source string `json:"source,omitempty"`

	Outliers

	estimates estimates
	inner     reverseproxy.Selector
	nature    nature
}

// CaddyModule returns the Caddy module information.
func (*Guard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  policyNamespace + "." + guard,
		New: func() caddy.Module { return new(Guard) },
	}
}

// Provision sets up the policy and the one within it, and attaches it to its handler.
func (p *Guard) Provision(ctx caddy.Context) error {
	if len(p.InnerRaw) == 0 {
		p.InnerRaw = json.RawMessage(`{"policy":"` + defaultFallback + `"}`)
	}
	var err error
	if p.nature, err = natureOf(p.InnerRaw); err != nil {
		return err
	}
	if len(p.Weights) > 0 && (p.nature.weighs == unweighted || p.nature.turns != nil) {
		return located(fmt.Errorf("weight: weights around %s have no effect", p.nature.policy), p.Source)
	}
	err = p.estimates.attach(ctx, estimating{
		policy: guard, method: estimator.LeastResponseTime, params: p.params,
		weights: p.Weights, outliers: &p.Outliers, source: p.Source,
	})
	if err != nil {
		return err
	}
	inner, err := ctx.LoadModule(p, "InnerRaw")
	if err != nil {
		return fmt.Errorf("loading the guarded policy: %w", err)
	}
	var ok bool
	if p.inner, ok = inner.(reverseproxy.Selector); !ok {
		return fmt.Errorf("the guarded %T is not a selection policy", inner)
	}
	if own, ok := p.inner.(*ConsistentHash); ok {
		p.nature.keys = []keyFunc{own.key}
	}
	return nil
}

// params checks the options and returns them as the estimator has them, zero for its defaults.
func (p *Guard) params() (estimator.Params, error) {
	var params estimator.Params
	return params, p.Outliers.apply(&params)
}

// Cleanup gives back what Provision took.
func (p *Guard) Cleanup() error { return p.estimates.release() }

// Select implements reverseproxy.Selector. It returns nil if no upstream is available.
func (p *Guard) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if len(pool) == 0 {
		return nil
	}
	s := p.estimates.resolver.resolve(pool)
	l := p.estimates.lineUp(s, pool, r)
	seen := l.pool
	chosen := p.choose(s, l, r, w)
	if i := slices.Index(seen, chosen); i >= 0 {
		return pool[i]
	}
	return chosen
}

// choose lets the inner policy choose among those who may get the request, unless it is to probe an ejected upstream.
func (p *Guard) choose(s *snapshot[*field], l lineup, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	c := choices.Get().(*choosing)
	defer c.release()
	c.begin(s.upstreams, l)
	if len(c.lineup.candidates) == 0 {
		return nil
	}
	c.key = p.nature.key(r)
	c.lineup.request.Key = c.key
	now := p.estimates.book.now()
	var choice estimator.Choice
	c.admitted, choice = p.estimates.chooser.Admit(now, c.lineup.candidates, c.lineup.request, c.admit)
	if choice.Copy != estimator.None {
		p.estimates.probe(&c.lineup, choice, r)
	}
	switch choice.Why {
	case estimator.Probed:
		return c.at(choice.To)
	case estimator.Due:
		if u := p.probe(c, choice.To, now, r, w); u != nil {
			return u
		}
	}
	return p.ask(c, r, w)
}

// probe lets the inner policy see an ejected upstream too, and returns its choice, unless that is the ejected one and
// somebody else probes it already.
func (p *Guard) probe(c *choosing, ejected int, now int64, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	cookies := w.Header()["Set-Cookie"] // a sticky policy may add one for a choice that does not stand
	c.set(ejected, true)
	u := p.ask(c, r, w)
	if u != c.at(ejected) || p.estimates.chooser.ClaimProbe(now, c.lineup.candidates[ejected].Upstream) {
		return u
	}
	if cookies == nil {
		w.Header().Del("Set-Cookie")
	} else {
		w.Header()["Set-Cookie"] = cookies
	}
	c.set(ejected, false)
	return nil
}

// ask has the inner policy choose among the admitted, and weights come in.
func (p *Guard) ask(c *choosing, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	turns := p.nature.turnsFor(c.key)
	if turns != nil && !c.takeTurns(turns) {
		return nil
	}
	differ := !(turns == nil && c.even()) && c.share(turns) && p.nature.weighs != unweighted
	if differ && p.nature.weighs == byLoad {
		return c.leastLoaded()
	}
	if differ && p.nature.sticky && c.key == 0 { // the policy must remember what is chosen now
		c.only(draw(c.wanted, rand.Float64()))
	}
	u := p.inner.Select(c.visible(turns), r, w)
	switch {
	case u == nil && !p.nature.foreign:
		c.share(turns)
		return c.leastLoaded() // what it chose from became unavailable just now
	case u != nil && differ && !p.nature.sticky:
		return c.reweigh(u)
	}
	return u
}

// Interface guards
var (
	_ reverseproxy.Selector = (*Guard)(nil)
	_ caddy.Provisioner     = (*Guard)(nil)
	_ caddy.CleanerUpper    = (*Guard)(nil)
)
