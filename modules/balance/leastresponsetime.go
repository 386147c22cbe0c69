// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

func init() {
	caddy.RegisterModule(new(LeastResponseTime))
}

const (
	leastResponseTime = "least_response_time"

	measureHeaders = "headers"
	measureBody    = "body"

	widestBand      = 100
	leastExplore    = 0.0001
	greatestExplore = 1
)

// LeastResponseTime is a selection policy that sends each request where it would be answered soonest: to the upstream with
// the least latency to expect at the load that it has now. It learns from every request, and needs no other option.
//
// An upstream that fails is avoided, then ejected and probed until it is well again; one that goes quiet while requests
// wait is left alone at once; a new or recovered one comes to its share slowly. A retry goes to another upstream.
type LeastResponseTime struct {
	// Measure is what a latency is: the time to the response "headers", or to the end of the "body". The latter suits
	// upstreams that differ in how fast they send, and clients that read as fast as they do. Default: headers.
	Measure string `json:"measure,omitempty"`

	// Memory is the time in which an observation's weight falls to 37 percent, from 100ms to 1h. Longer is steadier,
	// shorter sees a change sooner. Default, also for zero: 5s.
	Memory caddy.Duration `json:"memory,omitempty"`

	// Band is how much longer than the shortest one an upstream's expected latency may be, as a part of it, to count as
	// equal; of equal ones the least loaded is taken, so that several proxies do not all go to the same one. At most 100.
	// Default, also for zero: 0.5. A negative value means that only equal ones are equal.
	Band float64 `json:"band,omitempty"`

	// Explore is the part of its fair share that an upstream gets at least, however slow it is, from 0.0001 to 1; a
	// recovery would not be seen without. Default, also for zero: 0.01. A negative value means nothing.
	Explore float64 `json:"explore,omitempty"`

	// Weights prefer upstreams, from 0.001 to 1000, by dial address as in the handler's upstreams: expected latencies are
	// divided by them. Default: 1 for each upstream that is not named. A name that the handler does not have is an error,
	// unless its upstreams are dynamic. An operator's weight (POST /gatehouse/upstreams/weight) takes precedence.
	Weights map[string]float64 `json:"weights,omitempty"`

	// Zones are upstreams by dial address, the nearest zone first. A farther zone gets requests only while those that
	// are nearer are slow, or cannot take more. Upstreams that no zone names are farther than all that are named.
	// Default: all are equally near. At most 255; names as for weights.
	Zones [][]string `json:"zones,omitempty"`

	// Source is where a Caddyfile has the policy, file and line, for errors about weights and zones: these are found only when
	// the upstreams are known. Default: none.
	Source string `json:"source,omitempty"`

	Outliers

	estimates estimates
}

// CaddyModule returns the Caddy module information.
func (*LeastResponseTime) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  policyNamespace + "." + leastResponseTime,
		New: func() caddy.Module { return new(LeastResponseTime) },
	}
}

// Provision sets up the policy and attaches it to its handler.
func (p *LeastResponseTime) Provision(ctx caddy.Context) error {
	return p.estimates.attach(ctx, estimating{
		policy: leastResponseTime, method: estimator.LeastResponseTime, params: p.params,
		weights: p.Weights, zones: p.Zones, outliers: &p.Outliers, source: p.Source,
	})
}

// params checks the options and returns them as the estimator has them, zero for its defaults.
func (p *LeastResponseTime) params() (estimator.Params, error) {
	params := estimator.Params{
		Memory: time.Duration(p.Memory), Band: max(p.Band, estimator.Off), Explore: max(p.Explore, estimator.Off),
	}
	switch p.Measure {
	case "", measureHeaders:
	case measureBody:
		params.Measure = estimator.ToEnd
	default:
		return params, fmt.Errorf("measure: expected %s or %s, found %q", measureHeaders, measureBody, p.Measure)
	}
	switch {
	case p.Band > widestBand:
		return params, fmt.Errorf("band: expected a number from 0 to %d, found %g", widestBand, p.Band)
	case p.Explore > 0 && (p.Explore < leastExplore || p.Explore > greatestExplore):
		return params, fmt.Errorf("explore: expected a number from %g to %d, found %g", leastExplore, greatestExplore, p.Explore)
	}
	if err := checkMemory(p.Memory); err != nil {
		return params, err
	}
	return params, p.Outliers.apply(&params)
}

// Cleanup gives back what Provision took.
func (p *LeastResponseTime) Cleanup() error { return p.estimates.release() }

// Select implements reverseproxy.Selector. It returns nil if no upstream is available.
func (p *LeastResponseTime) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	return p.estimates.choose(pool, r)
}

// Interface guards
var (
	_ reverseproxy.Selector = (*LeastResponseTime)(nil)
	_ caddy.Provisioner     = (*LeastResponseTime)(nil)
	_ caddy.CleanerUpper    = (*LeastResponseTime)(nil)
)
