// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// closeLimit is how long a config that ends waits for its checks. They heed their context, so it is never reached unless
// somebody else's transport does not.
const closeLimit = 5 * time.Second

// checker makes the active checks of one policy: one goroutine an upstream, which waits, claims the check, makes it and
// reports. The nil checker makes none and has no opinion.
type checker struct {
	check    *check
	via      http.RoundTripper
	hangUp   func() // closes the connections that only checks use
	logger   *zap.Logger
	registry *registry
	running  chan struct{} // closed once the config runs: provisioning alone, as in validation, sends nothing

	ctx    context.Context
	cancel context.CancelFunc
	begin  func()
	work   sync.WaitGroup

	mu      sync.Mutex // guards what follows, and work while it grows
	watched map[*upstream]*watch
	closed  bool
}

// watch is one upstream under check.
type watch struct {
	state *checkState
	fixed bool      // the config names it, so it stays
	left  time.Time // when it was last missing from the pool; zero while it is there
}

// checkHealth begins the checks that h describes, of the handler's own upstreams; those of a dynamic source follow when
// they are first seen.
func (p *proxy) checkHealth(ctx caddy.Context, h *Health) error {
	if h == nil {
		return nil
	}
	made, err := h.parse(describe(p.next))
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	if err := meter.Register(ctx.GetMetricsRegistry(), healthCollector()); err != nil {
		return err
	}
	c := newChecker(ctx.Context, made, p.next, p.registry, ctx.Logger())
	if err := c.beginWith(ctx); err != nil {
		return errors.Join(fmt.Errorf("health: %w", err), c.close())
	}
	var fixed []*upstream
	for _, u := range p.static {
		fixed = append(fixed, p.registry.get(u.Dial))
	}
	c.watch(fixed, true)
	p.health = c
	return nil
}

func newChecker(ctx context.Context, made *check, next http.RoundTripper, r *registry, logger *zap.Logger) *checker {
	c := &checker{check: made, registry: r, logger: logger, running: make(chan struct{}), watched: map[*upstream]*watch{}}
	c.via, c.hangUp = checkTransport(next, made.timeout)
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.begin = sync.OnceFunc(func() { close(c.running) })
	return c
}

// beginWith has the checks begin when the config runs.
func (c *checker) beginWith(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	if app.(*caddyevents.App).On("started", started{c}) != nil {
		c.begin() // the config runs already
	}
	return nil
}

// started is the handler of Caddy's event of that name.
type started struct{ *checker }

// Handle implements caddyevents.Handler.
func (s started) Handle(context.Context, caddy.Event) error {
	s.begin()
	return nil
}

// close ends all checks.
func (c *checker) close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	if !endsWithin(closeLimit, &c.work) {
		return fmt.Errorf("health checks through %T do not end", c.via)
	}
	c.hangUp()
	return nil
}

// watch checks the upstreams of a pool from now on. Others, save the config's own, are dropped after a while: a source may
// answer with other pools in turn.
func (c *checker) watch(pool []*upstream, fixed bool) {
	if c == nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watched {
		if w.left.IsZero() && !w.fixed {
			w.left = now
		}
	}
	for _, u := range pool {
		w := c.watched[u]
		if w == nil {
			w = c.add(u)
		}
		if w != nil {
			w.left, w.fixed = time.Time{}, w.fixed || fixed
		}
	}
}

// add begins to check an upstream. c.mu is held.
func (c *checker) add(u *upstream) *watch {
	if c.closed || len(c.watched) >= maxUpstreams {
		return nil
	}
	if _, err := c.check.dialInfo(u.address); errors.Is(err, errRequestPlaceholder) {
		c.logger.Debug("upstream is not checked", zap.String("upstream", u.address), zap.Error(err))
		return nil
	}
	w := &watch{state: u.checks.acquire(c.check, rand.Float64())}
	u.watchers.Add(1)
	c.watched[u] = w
	c.work.Go(func() {
		c.attend(u, w)
		w.state.release()
		u.watchers.Add(-1)
	})
	return w
}

// down reports for each upstream of a pool whether it is down; nil if none is. It watches the pool from now on. What it
// returns stands until the registry's generation changes.
func (c *checker) down(pool []*upstream) []bool {
	if c == nil {
		return nil
	}
	c.watch(pool, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []bool
	for i, u := range pool {
		if w := c.watched[u]; w != nil && w.state.down() {
			if all == nil {
				all = make([]bool, len(pool))
			}
			all[i] = true
		}
	}
	return all
}

// failClosed reports whether requests are refused when all upstreams are down.
func (c *checker) failClosed() bool { return c != nil && c.check.failClosed }

// attend checks an upstream until the config ends or the upstream is gone.
func (c *checker) attend(u *upstream, w *watch) {
	select {
	case <-c.running:
	case <-c.ctx.Done():
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
		if c.gone(u, w) {
			return
		}
		if w.state.claim(time.Now()) {
			c.once(u, w.state)
		}
		timer.Reset(w.state.wait(time.Now()))
	}
}

// gone drops an upstream that has not been in the pool for a while.
func (c *checker) gone(u *upstream, w *watch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.left.IsZero() || time.Since(w.left) < c.check.staleAfter() {
		return false
	}
	delete(c.watched, u)
	return true
}

// once makes one check that was claimed.
func (c *checker) once(u *upstream, s *checkState) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.ctx, c.check.timeout)
	defer cancel()
	problem := c.check.run(ctx, c.via, u.address)
	if c.ctx.Err() != nil {
		s.abandon()
		return
	}
	if ctx.Err() != nil && problem != nil {
		problem = fmt.Errorf("no answer within %s", c.check.timeout)
	}
	before, after := s.report(c.check, began, problem, rand.Float64())
	if before == after {
		if problem != nil {
			c.logger.Debug("health check failed", zap.String("upstream", u.address), zap.Error(problem))
		}
		return
	}
	c.registry.generation.Add(1) // snapshots hold verdicts
	switch {
	case after == down:
		c.logger.Warn("upstream is down", zap.String("upstream", u.address), zap.Stringer("check", c.check), zap.Error(problem))
	case before == down:
		c.logger.Info("upstream is up", zap.String("upstream", u.address), zap.Stringer("check", c.check))
		u.ramp()
	}
}
