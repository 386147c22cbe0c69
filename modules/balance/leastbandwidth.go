// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

func init() {
	caddy.RegisterModule(new(LeastBandwidth))
}

const leastBandwidth = "least_bandwidth"

// LeastBandwidth is a selection policy that sends each request to the upstream that presently sends the fewest bytes a
// second. It suits downloads and media, where links are what is scarce.
//
// The rate is that of response bodies as they pass through this proxy. A request that waits for its answer counts as the
// bytes that an answer of its upstream usually brings. Failing, new and recovered upstreams are treated as by
// least_response_time, and a retry goes to another upstream.
type LeastBandwidth struct {
	// Memory is the time over which the rate is taken, from 100ms to 1h. Default, also for zero: 5s.
	Memory caddy.Duration `json:"memory,omitempty"`

	// Weights are shares of the bandwidth relative to each other, from 0.001 to 1000, by dial address as in the handler's
	// upstreams. Default: 1 for each upstream that is not named. A name that the handler does not have is an error, unless
	// its upstreams are dynamic. An operator's weight (POST /gatehouse/upstreams/weight) takes precedence.
	Weights map[string]float64 `json:"weights,omitempty"`

	// Source is where a Caddyfile has the policy, file and line, for errors about weights: these are found only when
	// the upstreams are known. Default: none.
	Source string `json:"source,omitempty"`

	Outliers

	estimates estimates
}

// CaddyModule returns the Caddy module information.
func (*LeastBandwidth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  policyNamespace + "." + leastBandwidth,
		New: func() caddy.Module { return new(LeastBandwidth) },
	}
}

// Provision sets up the policy and attaches it to its handler.
func (p *LeastBandwidth) Provision(ctx caddy.Context) error {
	return p.estimates.attach(ctx, estimating{
		policy: leastBandwidth, method: estimator.LeastBandwidth, params: p.params,
		weights: p.Weights, outliers: &p.Outliers, source: p.Source,
	})
}

// params checks the options and returns them as the estimator has them, zero for its defaults.
func (p *LeastBandwidth) params() (estimator.Params, error) {
	params := estimator.Params{RateMemory: time.Duration(p.Memory)}
	if err := checkMemory(p.Memory); err != nil {
		return params, err
	}
	return params, p.Outliers.apply(&params)
}

// Cleanup gives back what Provision took.
func (p *LeastBandwidth) Cleanup() error { return p.estimates.release() }

// Select implements reverseproxy.Selector. It returns nil if no upstream is available.
func (p *LeastBandwidth) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	return p.estimates.choose(pool, r)
}

// Interface guards
var (
	_ reverseproxy.Selector = (*LeastBandwidth)(nil)
	_ caddy.Provisioner     = (*LeastBandwidth)(nil)
	_ caddy.CleanerUpper    = (*LeastBandwidth)(nil)
)
