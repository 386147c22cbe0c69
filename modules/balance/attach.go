// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// proxy is the hold that a policy has on the reverse_proxy handler around it. The zero proxy holds nothing.
type proxy struct {
	*observer
	handler *reverseproxy.Handler
	static  reverseproxy.UpstreamPool // the handler's own upstreams; a dynamic source may replace them
	leases  []lease.Lease
	health  *checker // nil without active checks of ours
}

// attach finds the reverse_proxy handler that the policy belongs to, wraps its transport unless another policy of ours
// has, and claims the handler's static upstreams with their configured weights (1 if not in weights).
//
// It relies on Caddy's order of provisioning: the handler loads its transport before its policy, and provisions the
// default one only afterwards, if there is still none.
func attach(ctx caddy.Context, policy string, weights map[string]float64) (proxy, error) {
	handler := handlerAround(ctx)
	if handler == nil {
		return proxy{}, fmt.Errorf("%s works within reverse_proxy only: it watches that handler's transport", policy)
	}
	if err := checkWeights(handler, weights); err != nil {
		return proxy{}, err
	}
	if err := meter.Register(ctx.GetMetricsRegistry(), collector()); err != nil {
		return proxy{}, err
	}
	if handler.Transport == nil {
		// Loaded as a module so that Caddy cleans it up with the config.
		transport, err := ctx.LoadModuleByID("http.reverse_proxy.transport.http", nil)
		if err != nil {
			return proxy{}, fmt.Errorf("loading the default transport: %w", err)
		}
		handler.Transport = transport.(http.RoundTripper)
	}
	p := proxy{handler: handler, static: handler.Upstreams}
	for _, u := range handler.Upstreams {
		held, err := registered.claim(u.Dial, policy, weightOf(weights, u.Dial))
		if err != nil {
			return proxy{}, errors.Join(fmt.Errorf("claiming upstream %s: %w", u.Dial, err), p.release())
		}
		p.leases = append(p.leases, held)
	}
	if p.observer, _ = handler.Transport.(*observer); p.observer == nil {
		p.observer = newObserver(handler, registered)
		handler.Transport = p.observer
	}
	return p, nil
}

// located adds to an error where the Caddyfile has the policy, if that is known.
func located(err error, source string) error {
	if err == nil || source == "" {
		return err
	}
	return fmt.Errorf("%w, at %s", err, source)
}

// release gives the claims back. The transport stays wrapped: it goes with its handler.
func (p *proxy) release() error {
	errs := []error{p.health.close()}
	for i := range p.leases {
		errs = append(errs, p.leases[i].Release())
	}
	p.leases = nil
	return errors.Join(errs...)
}

// handlerAround returns the nearest reverse_proxy handler of the module that is being provisioned.
func handlerAround(ctx caddy.Context) *reverseproxy.Handler {
	for _, module := range slices.Backward(ctx.Modules()) {
		if handler, ok := module.(*reverseproxy.Handler); ok {
			return handler
		}
	}
	return nil
}

// checkWeights rejects weights that no upstream would ever have. A dynamic source may bring any address.
func checkWeights(handler *reverseproxy.Handler, weights map[string]float64) error {
	known := map[string]bool{}
	for _, u := range handler.Upstreams {
		known[u.Dial] = true
	}
	for _, address := range slices.Sorted(maps.Keys(weights)) {
		if err := checkWeight(weights[address]); err != nil {
			return fmt.Errorf("weight of upstream %q: %w", address, err)
		}
		if !known[address] && handler.DynamicUpstreamsRaw == nil {
			return fmt.Errorf("weight of upstream %q: reverse_proxy has no such upstream; it has: %s",
				address, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}
