// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

const (
	// idleLimit is how long an upstream is remembered that no running policy names and no request went to.
	idleLimit = time.Hour
	// maxUpstreams bounds the registry. Beyond it, idle upstreams are forgotten at once, and further ones are not kept.
	maxUpstreams = 10_000
	// sweepInterval is the least time between two searches for idle upstreams, and fullInterval when the registry is full.
	sweepInterval = time.Minute
	fullInterval  = time.Second
)

// registered is the state of every upstream of this process, by dial address, and references are the policies' claims on
// the ones that their configs name.
var (
	registered = newRegistry()
	references = caddy.NewUsagePool()
)

// upstream is what this process knows about one dial address, whichever configs, handlers and policies use it.
type upstream struct {
	// address is the dial address as configured: placeholders in it are not expanded, so that requests cannot add any.
	address string

	_        [64]byte      // what every request writes stays off the cache lines of what every request reads
	inFlight atomic.Int64  // attempts that were sent and whose response body is not closed yet
	used     atomic.Int64  // Unix nanoseconds of the last attempt's start, or of the creation
	received atomic.Uint64 // bytes of response bodies
	tally    tally
	open     openBodies
	_        [64]byte

	estimates atomic.Pointer[[]entry] // by book; written under the registry's mu

	drained atomic.Bool   // the operator's: no new requests; see registry.drain
	weight  atomic.Uint64 // the operator's weight as bits of a float64; 0 means none, and the config decides

	checks   checks       // what active checks found out
	watchers atomic.Int32 // active checks that go on

	copies        atomic.Uint64 // of requests, sent to find out whether the upstream is back
	asked         atomic.Uint64 // requests of the proxy's own, sent for the same reason
	pastEjections atomic.Uint64 // in books that are closed

	// Guarded by the registry's mu.
	static bool                  // named in a config at least once: its address may be a metric's label
	claims map[string]*reference // of running policies
}

// load is the number of attempts in flight.
func (u *upstream) load() int64 { return u.inFlight.Load() }

// weightOr returns the operator's weight, or the configured one if there is none.
func (u *upstream) weightOr(configured float64) float64 {
	if bits := u.weight.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return configured
}

// reference is the claim of a policy, of one or several handlers and configs, on an upstream that its config names.
type reference struct {
	registry *registry
	upstream *upstream
	key      string
	policy   string
	weight   float64
	order    uint64 // newer claims have higher numbers
}

// Destruct implements caddy.Destructor: the last config that made the claim is gone.
func (r *reference) Destruct() error {
	r.registry.mu.Lock()
	defer r.registry.mu.Unlock()
	delete(r.upstream.claims, r.key)
	r.upstream.used.Store(time.Now().UnixNano())
	return nil
}

// registry keeps upstreams by dial address.
type registry struct {
	// generation changes whenever what a snapshot of a pool was built from may have changed.
	generation atomic.Uint64

	mu        sync.RWMutex // guards what follows
	upstreams map[string]*upstream
	retired   totals // of forgotten upstreams that had no label of their own: counters must not go down
	swept     time.Time
	claims    uint64 // made so far

	retiredEstimates estimateTotals // as retired
}

func newRegistry() *registry { return &registry{upstreams: map[string]*upstream{}} }

// get returns the state of an address, making it if needed.
func (r *registry) get(address string) *upstream {
	r.mu.RLock()
	u := r.upstreams[address]
	r.mu.RUnlock()
	if u != nil {
		return u
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.getLocked(address)
}

func (r *registry) getLocked(address string) *upstream {
	if u := r.upstreams[address]; u != nil {
		return u
	}
	now := time.Now()
	full, interval := len(r.upstreams) >= maxUpstreams, sweepInterval
	if full {
		interval = fullInterval
	}
	if now.Sub(r.swept) >= interval {
		r.sweep(now, full)
	}
	u := &upstream{address: address, claims: map[string]*reference{}}
	u.used.Store(now.UnixNano())
	if len(r.upstreams) < maxUpstreams {
		r.upstreams[address] = u
	}
	return u
}

// sweep forgets upstreams that nothing needs: no policy names them, no request is in flight, no operator set anything on
// them, nobody checks their health, and they were idle for idleLimit or, if the registry is full, at all.
func (r *registry) sweep(now time.Time, full bool) {
	r.swept = now
	before := len(r.upstreams)
	maps.DeleteFunc(r.upstreams, func(_ string, u *upstream) bool {
		idle := full || now.Sub(time.Unix(0, u.used.Load())) >= idleLimit
		drop := idle && len(u.claims) == 0 && u.load() == 0 && !u.drained.Load() && u.weight.Load() == 0 && u.watchers.Load() == 0
		if drop && !u.static {
			r.retired.add(&u.tally, u.received.Load())
			r.retiredEstimates.add(u)
			r.retiredEstimates.ejected = 0
		}
		return drop
	})
	if len(r.upstreams) != before {
		r.generation.Add(1) // a snapshot must not go on with a state that the registry has forgotten
	}
}

// claim keeps the upstream that a policy's config names, with its weight there, until the lease is released.
func (r *registry) claim(address, policy string, weight float64) (lease.Lease, error) {
	key := policy + " " + address + " " + formatWeight(weight)
	_, held, err := lease.Take(references, key, func() (*reference, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.claims++
		ref := &reference{registry: r, key: key, policy: policy, weight: weight, order: r.claims}
		ref.upstream = r.getLocked(address)
		ref.upstream.static = true
		ref.upstream.claims[key] = ref
		return ref, nil
	})
	return held, err
}

// known returns all addresses, sorted.
func (r *registry) known() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.upstreams))
}

// find returns the state of an address if there is one.
func (r *registry) find(address string) (*upstream, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	u, ok := r.upstreams[address]
	return u, ok
}

// setWeight sets the operator's weight; zero takes it back.
func (r *registry) setWeight(u *upstream, weight float64) {
	u.weight.Store(math.Float64bits(weight))
	r.generation.Add(1)
}

// drain has the upstream get no new requests.
func (r *registry) drain(u *upstream) {
	u.drained.Store(true)
	r.generation.Add(1)
}

// undrain has it get requests again. Most often it was drained to be started anew.
func (r *registry) undrain(u *upstream) {
	if u.drained.CompareAndSwap(true, false) {
		u.ramp()
		r.generation.Add(1)
	}
}
