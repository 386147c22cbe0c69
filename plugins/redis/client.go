// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// FormatVersion is the version of the layout of keys and values, and a part of every key. A release that changes the layout
// raises it, so that it never misreads what an older one wrote.
const FormatVersion = 1

// Client sends commands to one Redis deployment. It is safe for concurrent use, is shared by every config that configures it
// alike, and dials when the first command is sent.
type Client struct {
	settings *settings
	keys     string // prefix of every key
	breaker  *breaker
	counts   *counts
	started  atomic.Int64               // number of the newest config that runs with it; 0 while none has started
	logger   atomic.Pointer[zap.Logger] // of the newest such config
	facts    atomic.Pointer[[]Facts]

	line     atomic.Pointer[line] // nil before the first command
	use      atomic.Int32         // quiet, busy or asleep
	express  atomic.Bool          // a script of RunAlone is on its way by itself
	near     atomic.Bool          // the last one was answered soon
	answered atomic.Int64         // when a batch was last answered, in nanoseconds since born
	born     time.Time

	mu     sync.Mutex // guards the building and closing of line
	closed bool
}

// line is what a used client consists of.
type line struct {
	universal goredis.UniversalClient
	pipe      *goredis.AutoPipeliner
	prober    *prober
	target    *target
	stop      context.CancelFunc
}

// Values of Client.use.
const (
	quiet  int32 = iota // no command since the prober looked last
	busy                // at least one
	asleep              // the prober looks rarely: the next command wakes it
)

func newClient(s *settings, logger *zap.Logger) *Client {
	c := &Client{
		settings: s,
		keys:     s.Prefix + ":" + strconv.Itoa(FormatVersion) + ":",
		breaker:  newBreaker(),
		counts:   newCounts(s.Name),
		born:     time.Now(),
	}
	c.logger.Store(logger)
	return c
}

// Name is the client's name in the configuration.
func (c *Client) Name() string { return c.settings.Name }

// Prefix begins every key: the configured prefix and the version of the key format, each with its colon.
func (c *Client) Prefix() string { return c.keys }

// Key joins the parts with colons, after the prefix. Parts that come from requests are hashed or last, so that no two lists
// of parts give the same key; what must lie together in a cluster shares one part in braces.
func (c *Client) Key(parts ...string) string { return c.keys + strings.Join(parts, ":") }

// Timeout is how long a command waits for its answer at most.
func (c *Client) Timeout() time.Duration { return c.settings.Timeout }

// Healthy reports whether a command would be sent. It costs a few nanoseconds: ask before building an expensive command.
func (c *Client) Healthy() bool { return c.breaker.gate.Load().err == nil }

// Do sends one command, batched with those of other goroutines, and waits for its answer: no longer than the client's
// timeout, until ctx is done, or until the breaker opens, whichever is first. While the breaker is open it returns
// ErrUnavailable at once.
//
// The error is nil, goredis.Nil for an empty answer, an error reply of the server, or one that is ErrUnavailable to
// errors.Is. The command is returned with an answer of the server only, else it is nil. A command is never sent twice.
// Blocking commands, transactions and subscriptions go through Universal instead.
func (c *Client) Do(ctx context.Context, args ...any) (*goredis.Cmd, error) {
	g := c.breaker.gate.Load()
	if g.err != nil {
		c.counts.unavailable.Inc()
		return nil, g.err
	}
	p := c.begin(ctx, g)
	return p.finish(p.do(goredis.NewCmd(ctx, slices.Clone(args)...)))
}

// Universal is the client of the driver, for what does not fit into Do: subscriptions, streams that block, scans, cluster
// internals. Its commands fail at once while the breaker is open, too, but while Redis is healthy they wait as their own
// context and the driver's timeouts say. Getting it may dial, so Provision does not call it. Do not close it.
func (c *Client) Universal() (goredis.UniversalClient, error) {
	l, err := c.connect()
	if err != nil {
		return nil, err
	}
	return l.universal, nil
}

// publish makes c the client of its name for Lookup and lets it log with the running config's logger.
func (c *Client) publish(n int64, logger *zap.Logger) {
	c.logger.Store(logger)
	c.started.Store(n)
}

func (c *Client) log() *zap.Logger {
	return c.logger.Load().With(zap.String("client", c.settings.Name), zap.Strings("addresses", c.settings.Addresses))
}

// connect returns the line, building it on first use.
func (c *Client) connect() (*line, error) {
	if l := c.line.Load(); l != nil {
		return l, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if l := c.line.Load(); l != nil {
		return l, nil
	}
	goredis.SetLogger(driverLog{})
	universal := goredis.NewUniversalClient(c.settings.options())
	universal.AddHook(hook{c})
	pipe, err := universal.AsyncAutoPipelineWithOptions(c.settings.pipeline())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("building the pipeline: %w", err), universal.Close())
	}
	l := &line{universal: universal, pipe: pipe}
	c.watch(l)
	c.line.Store(l)
	return l, nil
}

// watch starts the prober of l.
func (c *Client) watch(l *line) {
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	l.target = &target{settings: c.settings, learn: c.learn}
	l.prober = newProber(c.settings)
	l.prober.probe = l.target.probe
	l.prober.heard = c.heard
	l.prober.used = func() bool { return c.use.CompareAndSwap(busy, quiet) }
	l.prober.asleep = func() { c.use.CompareAndSwap(quiet, asleep) }
	l.prober.up = func() { c.up(l) }
	l.prober.down = c.down
	l.prober.count = c.breaker.count
	go l.prober.run(ctx)
}

// touch notes that a command is about to be sent. It writes only when that is news.
func (c *Client) touch(l *line) {
	switch state := c.use.Load(); {
	case state == busy:
	case !c.use.CompareAndSwap(state, busy): // another goroutine does it
	case state == asleep:
		l.prober.wake()
	}
}

// heard returns when a request was last answered. An answer of one master says nothing about the others.
func (c *Client) heard() time.Time {
	if c.settings.Mode == modeCluster {
		return time.Time{}
	}
	return c.born.Add(time.Duration(c.answered.Load()))
}

func (c *Client) up(l *line) {
	before, lasted := c.breaker.close()
	if before != StateDown {
		return
	}
	c.log().Info("redis is back", zap.Duration("outage", lasted))
	if cluster, ok := l.universal.(*goredis.ClusterClient); ok {
		cluster.ReloadState(context.Background()) // a replica may have been promoted
	}
}

func (c *Client) down(reason error) {
	if c.breaker.open(reason) {
		c.counts.opens.Inc()
		c.log().Warn("redis is unavailable; what depends on it does as its on_store_error says", zap.Error(reason))
	}
}

// Destruct closes the client when no config uses it any more. Waiting commands get ErrClosed.
func (c *Client) Destruct() error {
	c.breaker.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	l := c.line.Load()
	if l == nil {
		return nil
	}
	l.stop()
	l.target.close()
	<-l.prober.done
	return l.universal.Close()
}

// driverLog takes what the driver would print to standard error. Each of its lines is about one connection; the prober says
// what matters.
type driverLog struct{}

// Printf implements the driver's interface of a logger.
func (driverLog) Printf(_ context.Context, format string, args ...any) {
	if entry := caddy.Log().Named("redis.driver").Check(zap.DebugLevel, "driver message"); entry != nil {
		entry.Write(zap.String("message", fmt.Sprintf(format, args...)))
	}
}
