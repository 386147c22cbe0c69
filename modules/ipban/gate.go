// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// gate is what the handler and the matcher share: it looks the client up, and makes the outcome visible.
type gate struct {
	app      *App
	watch    *clientaddr.Watch
	lease    lease.Lease
	recorder *decision.Recorder
	requests [outcomes]prometheus.Counter
	logger   *zap.Logger
	logged   atomic.Int64 // Unix time, in seconds, of the last line about a dry run
}

// newGate makes a gate whose requests are counted under the given kind of module.
func newGate(ctx caddy.Context, module string) (*gate, error) {
	app, err := ctx.App("ip_bans")
	if err != nil {
		return nil, fmt.Errorf("ip_ban: %w", err)
	}
	watch, lease, err := clientaddr.Take(ctx)
	if err != nil {
		return nil, fmt.Errorf("ip_ban: %w", err)
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		app.(*App).guards.add(server)
	}
	return &gate{
		app:      app.(*App),
		watch:    watch,
		lease:    lease,
		recorder: decision.New("ip_ban", "prefix", "reason"),
		requests: outcomeCounters(module),
		logger:   ctx.Logger(),
	}, nil
}

// release gives back what newGate took. A nil gate took nothing.
func (g *gate) release() error {
	if g == nil {
		return nil
	}
	return g.lease.Release()
}

// decide returns what is to become of r, having counted, recorded and logged it, and when the ban that covers the client ends.
func (g *gate) decide(r *http.Request, dry bool) (outcome, time.Time) {
	g.watch.See(r)
	addr, ok := clientaddr.Of(r)
	if !ok { // a client without an address, as on a Unix socket, cannot be banned by it
		g.requests[passed].Inc()
		return passed, time.Time{}
	}
	v := g.app.judge(addr, func() bool { return clientaddr.IsProxy(r, addr) })
	if v.outcome == banned && dry {
		v.outcome = dryRun
	}
	g.requests[v.outcome].Inc()
	if v.outcome == passed {
		return passed, time.Time{}
	}
	g.recorder.Record(r, v.outcome.String(), v.ban.Prefix.String(), v.ban.Reason)
	if c := g.logger.Check(g.level(v.outcome), "a ban covers the client"); c != nil {
		c.Write(zap.Stringer("client_ip", addr), zap.Stringer("outcome", v.outcome), zap.Stringer("prefix", v.ban.Prefix),
			zap.String("reason", v.ban.Reason))
	}
	return v.outcome, v.ban.Expires
}

// level makes dry runs show in a log of the default level, at most once a second: a banned client may send many requests.
func (g *gate) level(o outcome) zapcore.Level {
	now := time.Now().Unix()
	if last := g.logged.Load(); o == dryRun && last != now && g.logged.CompareAndSwap(last, now) {
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}
