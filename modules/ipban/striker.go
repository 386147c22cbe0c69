// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
)

// strikeOutcome is what becomes of a strike. Its texts are metric labels.
type strikeOutcome int

const (
	strikeCounted strikeOutcome = iota // it counts, and more are needed
	strikeBanned                       // it was one too many
	strikeDryRun                       // it would have been
	strikeExempt                       // the client is never banned
	strikeInForce                      // the client is banned already, or would be
	strikeFull                         // there are max_bans already
	strikeOutcomes
)

func (o strikeOutcome) String() string {
	return [strikeOutcomes]string{"counted", "banned", "dry_run", "exempt", "in_force", "full"}[o]
}

// Striker is how a module reports what clients do wrong, under one rule. It is made in Provision and is safe for concurrent
// use. It needs no release: the app of its config holds what outlives it.
type Striker struct {
	app    *App
	rule   Rule
	policy string
	key    string // of the strikes
	reason string
	dry    bool
	counts [strikeOutcomes]prometheus.Counter
	logger *zap.Logger
}

// NewStriker makes a Striker of the handler that is provisioned with ctx. policy names the rule in the list of bans, in metrics
// and in logs, so it comes from the config; handlers that give the same policy and rule share the clients' strikes.
// With dryRun nobody is banned, and whom the rule would ban is listed apart.
//
// It is an error if the handler's server has no ip_ban, as nobody would be refused then.
func NewStriker(ctx caddy.Context, policy string, rule Rule, dryRun bool) (*Striker, error) {
	if err := rule.check(); err != nil {
		return nil, err
	}
	app, err := ctx.App("ip_bans")
	if err != nil {
		return nil, err
	}
	s := &Striker{
		app:    app.(*App),
		rule:   rule,
		policy: tidy(policy),
		key:    policy + " " + rule.String(),
		reason: rule.reason(),
		dry:    dryRun || app.(*App).DryRun,
		counts: strikeCounters(policy),
		logger: ctx.Logger(),
	}
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && !s.app.guards.guard(server) {
		return nil, fmt.Errorf("the policy %q bans clients, and no site of the server %q (%s) has ip_ban, which would refuse them: add it",
			policy, server.Name(), server.Listen)
	}
	return s, nil
}

// Strike reports that the client of r did wrong once. It reports whether that banned the client, or would have but for a
// dry run. The ban is in force in this process when it returns; the store is told in the background. It waits for nothing.
//
// The allow-list, this machine, the trusted proxies of r's server, and who asked the admin endpoint about bans lately are
// never banned.
func (s *Striker) Strike(r *http.Request) (banned bool) {
	addr, ok := clientaddr.Of(r)
	if !ok { // a client without an address, as on a Unix socket
		s.counts[strikeExempt].Inc()
		return false
	}
	outcome := s.decide(r, addr, time.Now())
	s.counts[outcome].Inc()
	return outcome == strikeBanned || outcome == strikeDryRun
}

// decide counts the strike and carries out what follows from it.
func (s *Striker) decide(r *http.Request, addr netip.Addr, now time.Time) strikeOutcome {
	list := s.app.list
	if s.app.allowed.Contains(addr) || clientaddr.IsProxy(r, addr) {
		return strikeExempt
	}
	current := &list.table
	if s.dry {
		current = &list.dry.table
	}
	if _, _, banned := current.find(addr); banned {
		return strikeInForce
	}
	client := s.app.client(addr)
	who := suspect{s.key, client}
	if !list.strikes.strike(who, now, s.rule.After, time.Duration(s.rule.In), s.app.MaxStrikes) {
		return strikeCounted
	}
	if clientaddr.IsTrusted(r, addr) || list.operator.include(client, now) {
		return strikeExempt
	}
	return s.ban(addr, client, now)
}

// ban bans a client, or lists that it would have.
func (s *Striker) ban(addr netip.Addr, client netip.Prefix, now time.Time) strikeOutcome {
	plan := func(earlier past) Ban { return s.rule.ban(client, now, earlier, s.policy, s.reason) }
	if s.dry {
		if ban, made := s.app.list.dry.impose(addr, client, plan); made {
			s.log("a rule would have banned a client, but for dry_run", addr, ban)
			return strikeDryRun
		}
		return strikeInForce
	}
	release, err := s.app.room([]Change{{Ban: Ban{Prefix: client}}})
	if err != nil {
		return strikeFull
	}
	defer release()
	ban, made := s.app.list.impose(addr, client, s.app.MaxBans, plan)
	if !made {
		return strikeInForce
	}
	s.log("a rule banned a client", addr, ban)
	return strikeBanned
}

func (s *Striker) log(text string, addr netip.Addr, ban Ban) {
	s.logger.Info(text,
		zap.Stringer("client_ip", addr),
		zap.Stringer("prefix", ban.Prefix),
		zap.String("policy", ban.Source),
		zap.String("reason", ban.Reason),
		zap.Time("expires", ban.Expires),
		zap.Int("level", ban.Level))
}

// ban is the ban of a client by the rule, given its earlier ones.
func (r *Rule) ban(client netip.Prefix, now time.Time, earlier past, policy, reason string) Ban {
	b := newBan(client, now, r.lasts(earlier.level), policy, reason)
	if r.Escalate == 0 { // leaves the client's past, which other rules may count, as it is
		b.Level, b.Remembered = earlier.level, fromNano(earlier.until)
		return b
	}
	b.Level = earlier.level + 1
	b.Remembered = b.Expires.Add(r.remembers().Truncate(time.Millisecond))
	if until := fromNano(earlier.until); until.After(b.Remembered) {
		b.Remembered = until
	}
	return b
}
