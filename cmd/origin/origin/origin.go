// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package origin is a small upstream application whose behavior is set from outside: how long it takes, how often and
// how it fails, and what its responses say about caching. Command origin serves it; tests start it in their process:
//
//	upstream, err := origin.New(origin.Settings{Latency: "const:5ms", ErrorRate: 0.1})
//	server := httptest.NewServer(upstream)
//
// Listeners of one App share the effect counter, the log receiver and the versions of the cacheable resources;
// everything in Settings belongs to one Listener. The endpoints are listed in command origin's documentation.
package origin

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// Options bounds what an App keeps and seeds its random choices. A value of zero or below means the default.
type Options struct {
	// The seed of every listener's random source, together with the listener's name. Default: 1.
	Seed uint64
	// How many keys the effect counter remembers; POST /orders with one more answers 507. Default: 100000.
	MaxOrders int
	// The largest request body in bytes, as sent and, for /ingest, as decoded; above it 413. Default: 64 MiB.
	MaxBody int64
	// How many requests of one listener wait for a worker; one more gets 503. Default: 16384.
	MaxQueue int
	// How many SSE and WebSocket streams one listener keeps open; one more gets 503. Default: 4096.
	MaxStreams int
	// How many different log lines /ingest tells apart, at about 16 bytes each. Default: 1048576.
	MaxLines int
}

func (o Options) withDefaults() Options {
	if o.Seed == 0 {
		o.Seed = 1
	}
	o.MaxOrders = positive(o.MaxOrders, 100_000)
	o.MaxBody = positive(o.MaxBody, 64<<20)
	o.MaxQueue = positive(o.MaxQueue, 16_384)
	o.MaxStreams = positive(o.MaxStreams, 4096)
	o.MaxLines = positive(o.MaxLines, 1<<20)
	return o
}

func positive[N int | int64](n, fallback N) N {
	if n <= 0 {
		return fallback
	}
	return n
}

// App is what the listeners of one process share.
type App struct {
	options Options
	orders  *orders
	ingest  *ingest
	cache   *cache
}

// NewApp makes an application without listeners.
func NewApp(options Options) *App {
	options = options.withDefaults()
	return &App{
		options: options,
		orders:  newOrders(options.MaxOrders),
		ingest:  newIngest(options.MaxLines, options.MaxBody),
		cache:   newCache(time.Now()),
	}
}

// Effects reports how often POST or PATCH /orders took effect for key, over all listeners.
func (a *App) Effects(key string) int64 { return a.orders.effects(key) }

// Ingested reports what POST /ingest has received, over all listeners.
func (a *App) Ingested() Ingested { return a.ingest.report() }

// Listener is the application as one server of it behaves. It is an http.Handler.
type Listener struct {
	app     *App
	name    string
	mux     *http.ServeMux
	workers *workers
	streams *streams
	dice    dice
	counts  counts

	changing sync.Mutex // held by whoever replaces the state
	state    atomic.Pointer[state]
}

// state is one set of settings, never changed after it was stored.
type state struct {
	settings Settings
	latency  distribution
	thawAt   time.Time     // zero: not frozen
	replaced chan struct{} // closed when another state took its place
}

// New makes a listener named "origin" of an App of its own, with the default options.
func New(settings Settings) (*Listener, error) {
	return NewApp(Options{}).Listener("origin", settings)
}

// Listener adds a listener. The name goes into the X-Origin header of its responses: 1 to 64 letters, digits, dots,
// underscores and hyphens.
func (a *App) Listener(name string, settings Settings) (*Listener, error) {
	if !regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`).MatchString(name) {
		return nil, fmt.Errorf("bad name %q: want 1 to 64 letters, digits, dots, underscores and hyphens", name)
	}
	l := &Listener{
		app:     a,
		name:    name,
		workers: newWorkers(a.options.MaxQueue),
		streams: newStreams(a.options.MaxStreams),
		dice: dice{
			faults:  newRand(a.options.Seed, name+" faults"),
			latency: newRand(a.options.Seed, name+" latency"),
		},
	}
	l.mux = l.routes()
	if err := l.Set(settings); err != nil {
		return nil, fmt.Errorf("listener %s: %w", name, err)
	}
	return l, nil
}

// newRand makes a source that is the same in every run and differs between purposes.
func newRand(seed uint64, purpose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose)) // a hash never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// App returns the application that the listener belongs to.
func (l *Listener) App() *App { return l.app }

// Name returns the listener's name.
func (l *Listener) Name() string { return l.name }

// Settings returns the present settings with the defaults filled in. Freeze is the time left of it.
func (l *Listener) Settings() Settings {
	st := l.state.Load()
	s := st.settings
	s.Freeze = 0
	if !st.thawAt.IsZero() {
		s.Freeze = Duration(max(0, time.Until(st.thawAt)))
	}
	return s
}

// Set replaces the settings. Requests that were already let in keep the fate they drew.
func (l *Listener) Set(settings Settings) error {
	l.changing.Lock()
	defer l.changing.Unlock()
	return l.set(settings)
}

// set is Set with changing held.
func (l *Listener) set(settings Settings) error {
	settings, latency, err := settings.normalize()
	if err != nil {
		return err
	}
	next := &state{settings: settings, latency: latency, replaced: make(chan struct{})}
	if settings.Freeze > 0 {
		next.thawAt = time.Now().Add(time.Duration(settings.Freeze))
	}
	last := l.state.Swap(next)
	l.workers.resize(settings.Workers)
	if last != nil {
		close(last.replaced)
	}
	return nil
}

// Close ends the open streams and refuses new ones; everything else is still answered. It does not wait.
func (l *Listener) Close() { l.streams.close() }
