// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"strings"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Facts are what a server says about itself when the prober connects to it. Empty fields are unknown: the server, or the
// user's rights, did not tell.
type Facts struct {
	// Address is the server's host and port.
	Address string `json:"address"`
	// Version is that of the server, such as "7.0.15".
	Version string `json:"version,omitempty"`
	// Role is "master" or "slave".
	Role string `json:"role,omitempty"`
	// Policy is maxmemory-policy. All but "noeviction" may delete bans and idempotency records when memory is short.
	Policy string `json:"maxmemory_policy,omitempty"`
}

// inquire asks every server. A server that refuses to tell gives empty facts; one that does not answer is an error.
func inquire(ctx context.Context, servers []*goredis.Client) ([]Facts, error) {
	var facts []Facts
	for _, c := range servers {
		text, err := c.Info(ctx).Result()
		if err != nil && !isReply(err) {
			return nil, err
		}
		f := parseInfo(text)
		f.Address = c.Options().Addr
		facts = append(facts, f)
	}
	return facts, nil
}

// parseInfo reads the answer to INFO: lines of name:value.
func parseInfo(text string) Facts {
	var f Facts
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch name {
		case "redis_version":
			f.Version = value
		case "role":
			f.Role = value
		case "maxmemory_policy":
			f.Policy = value
		}
	}
	return f
}

// learn keeps the facts and warns about those that make Redis unfit. It is called once for each (re)connection of the prober.
func (c *Client) learn(facts []Facts) {
	if old := c.facts.Load(); old != nil && same(*old, facts) {
		return
	}
	defer c.facts.Store(&facts) // whoever sees the facts finds the warnings in the log
	for _, f := range facts {
		log := c.logger.Load().With(zap.String("client", c.settings.Name), zap.String("address", f.Address))
		log.Info("connected to redis", zap.String("version", f.Version), zap.String("role", f.Role),
			zap.String("maxmemory_policy", f.Policy))
		if f.Policy != "" && f.Policy != "noeviction" {
			log.Warn("redis may evict bans, limits and idempotency records when its memory is full; "+
				"set its maxmemory-policy to noeviction", zap.String("maxmemory_policy", f.Policy))
		}
		if f.Role != "" && f.Role != "master" {
			log.Warn("redis is a replica and refuses writes; configure its master, or its sentinels",
				zap.String("role", f.Role))
		}
	}
}

func same(a, b []Facts) bool {
	known := map[Facts]bool{}
	for _, f := range a {
		known[f] = true
	}
	for _, f := range b {
		if !known[f] {
			return false
		}
	}
	return len(a) == len(b)
}
