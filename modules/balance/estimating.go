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
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// estimates is what a policy holds that chooses by estimates of its upstreams. The zero value holds nothing.
type estimates struct {
	proxy    proxy
	lease    lease.Lease
	book     *book
	chooser  *estimator.Chooser
	resolver resolver[*field]
	copier   *copier // nil if requests are not copied
	asker    *asker  // nil if the proxy sends no probes of its own
	panic    float64 // the least part of the pool that Caddy must find healthy for that to count
}

const defaultPanic = 0.5 // the estimator's

// estimating is how a policy estimates.
type estimating struct {
	policy   string
	method   estimator.Method
	params   func() (estimator.Params, error) // checks the policy's options
	weights  map[string]float64
	zones    [][]string
	outliers *Outliers
	source   string // where a Caddyfile has the policy, for errors
}

// attach attaches a policy to the handler around it, and opens the book of its upstreams. In an error's case it holds
// what it took until then: the policy's Cleanup, which Caddy calls then too, must release it.
func (e *estimates) attach(ctx caddy.Context, how estimating) error {
	params, err := how.params()
	if err != nil {
		return err
	}
	return located(e.attachWith(ctx, how, params), how.source)
}

func (e *estimates) attachWith(ctx caddy.Context, how estimating, params estimator.Params) (err error) {
	if err := params.Validate(); err != nil {
		return err
	}
	if err := meter.Register(ctx.GetMetricsRegistry(), estimateCollector()); err != nil {
		return err
	}
	if e.proxy, err = attach(ctx, how.policy, how.weights); err != nil {
		return err
	}
	zones, err := newZones(e.proxy.handler, how.zones)
	if err != nil {
		return err
	}
	if e.book, e.lease, err = registered.openBook(how.policy, params); err != nil {
		return fmt.Errorf("opening the estimates: %w", err)
	}
	err = e.proxy.estimateBy(&estimation{
		book: e.book, failureStatus: how.outliers.failureStatus(), bytes: how.method == estimator.LeastBandwidth,
	})
	if err != nil {
		return err
	}
	if err := e.proxy.checkHealth(ctx, how.outliers.Health); err != nil {
		return err
	}
	e.panic = params.Panic
	def(&e.panic, defaultPanic)
	e.chooser = estimator.NewChooser(params, how.method, nil)
	e.resolver = resolver[*field]{
		registry: registered,
		static:   e.proxy.static,
		health:   e.proxy.health,
		derive: func(upstreams []*upstream) *field {
			return newField(e.book, upstreams, how.weights, zones, e.resolver.current.Load())
		},
	}
	if !how.outliers.noCopies() {
		e.copier = newCopier(ctx, e.proxy.handler, e.proxy.observer)
	}
	e.asker, err = newAsker(ctx, &e.proxy, how.outliers, e.book.now)
	return err
}

// release gives back what attach took.
func (e *estimates) release() error {
	e.copier.stop()
	return errors.Join(e.asker.stop(), e.lease.Release(), e.proxy.release())
}

// choose returns the upstream that the request should go to, nil if there is none.
func (e *estimates) choose(pool reverseproxy.UpstreamPool, r *http.Request) *reverseproxy.Upstream {
	if len(pool) == 0 {
		return nil
	}
	l := e.lineUp(e.resolver.resolve(pool), pool, r)
	defer l.release()
	choice := e.chooser.Choose(e.book.now(), l.candidates, l.request)
	if choice.Copy != estimator.None {
		e.probe(&l, choice, r)
	}
	if choice.To == estimator.None {
		return nil
	}
	return pool[l.in(choice.To)]
}

// probe sends an ejected upstream a copy of the request or one of the proxy's own, as the estimator wished.
func (e *estimates) probe(l *lineup, choice estimator.Choice, r *http.Request) {
	to := l.pool[l.in(choice.Copy)]
	u := e.proxy.registry.get(to.Dial)
	if !choice.Own {
		e.copier.send(r, to, u)
		return
	}
	control := slices.IndexFunc(l.candidates, func(c estimator.Candidate) bool { return !c.Upstream.Ejected() })
	if control >= 0 { // else it would tell nothing
		e.asker.ask(u, l.candidates[choice.Copy].Upstream, l.pool[l.in(control)].Dial)
	}
}

// The times over which estimates may be taken.
const (
	shortestMemory = caddy.Duration(100 * time.Millisecond)
	longestMemory  = caddy.Duration(time.Hour)
)

// checkMemory checks a policy's option of that name; zero is its default.
func checkMemory(memory caddy.Duration) error {
	if memory != 0 && (memory < shortestMemory || memory > longestMemory) {
		return fmt.Errorf("memory: expected a duration from 100ms to 1h, found %s", time.Duration(memory))
	}
	return nil
}

// zones are the distances of upstreams by address.
type zones struct {
	byAddress map[string]uint8
	last      uint8 // of those that no zone names
}

// maxZones bounds how many zones can be told apart.
const maxZones = 255

// newZones numbers the zones from the nearest, and rejects names that no upstream would ever have.
func newZones(handler *reverseproxy.Handler, names [][]string) (zones, error) {
	if len(names) > maxZones {
		return zones{}, fmt.Errorf("zones: expected at most %d, found %d", maxZones, len(names))
	}
	z := zones{byAddress: map[string]uint8{}, last: uint8(len(names))}
	known := map[string]bool{}
	for _, u := range handler.Upstreams {
		known[u.Dial] = true
	}
	for i, zone := range names {
		for _, address := range zone {
			if _, twice := z.byAddress[address]; twice {
				return zones{}, fmt.Errorf("zone: upstream %q is in two zones", address)
			}
			if !known[address] && handler.DynamicUpstreamsRaw == nil {
				return zones{}, fmt.Errorf("zone: reverse_proxy has no upstream %q; it has: %s",
					address, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			}
			z.byAddress[address] = uint8(i)
		}
	}
	return z, nil
}

// of returns the zone of an address.
func (z *zones) of(address string) uint8 {
	if zone, ok := z.byAddress[address]; ok {
		return zone
	}
	return z.last
}
