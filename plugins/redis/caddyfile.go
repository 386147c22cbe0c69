// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("redis", parseGlobal)
}

// parseGlobal adds the client of one `redis` option to those of the options before it. See ClientConfig.UnmarshalCaddyfile
// for the syntax.
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	app := App{Clients: map[string]*ClientConfig{}}
	if before, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(before.Value, &app); err != nil {
			return nil, d.Errf("reading the redis options before this one: %v", err)
		}
	}
	d.Next()
	name, url := DefaultName, ""
	args := d.RemainingArgs()
	if len(args) > 0 && !isURL(args[0]) {
		name, args = args[0], args[1:]
	}
	if len(args) > 0 && isURL(args[0]) {
		url, args = args[0], args[1:]
	}
	if len(args) > 0 || !validName(name) { // they are not quoted: a mistyped URL may hold a password
		return nil, d.Err("redis: expected [<name>] [<url>], where a name has letters, digits, _, - and . only, " +
			"and a URL begins with redis://, rediss://, unix:// or a placeholder")
	}
	if _, twice := app.Clients[name]; twice {
		return nil, d.Errf("redis: client %q is configured twice", name)
	}
	config := &ClientConfig{URL: url}
	if err := config.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	app.Clients[name] = config
	return httpcaddyfile.App{Name: backend.App, Value: caddyconfig.JSON(app, nil)}, nil
}

// isURL tells a URL, which may be a placeholder, from a name.
func isURL(arg string) bool { return strings.Contains(arg, "://") || strings.HasPrefix(arg, "{") }

// UnmarshalCaddyfile parses the block of the global option, one for each client:
//
//	redis [<name>] [<url>] {
//		url <url>
//		sentinel <master> <address...>
//		sentinel_username <user>
//		sentinel_password <password>
//		cluster <address...>
//		username <user>
//		password <password>
//		db <number>
//		tls {
//			ca <file>
//			cert <file>
//			key <file>
//			server_name <name>
//			insecure_skip_verify
//		}
//		dial_timeout <duration>
//		timeout <duration>
//		probe {
//			interval <duration>
//			timeout <duration>
//		}
//		pool {
//			size <number>
//			min_idle <number>
//			idle_timeout <duration>
//			lifetime <duration>
//			queue <number>
//		}
//		prefix <text>
//	}
func (c *ClientConfig) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	err := directive.Block(d, directive.Options{
		"url": func() error {
			if c.URL != "" {
				return d.Err("url: the option has a URL already")
			}
			return secret(d, &c.URL)
		},
		"sentinel":          func() error { return c.parseSentinel(d) },
		"sentinel_username": func() error { return directive.Arg(d, &c.sentinel().Username, directive.Word) },
		"sentinel_password": func() error { return secret(d, &c.sentinel().Password) },
		"cluster":           func() error { return directive.Args(d, &c.Cluster, directive.Word) },
		"username":          func() error { return directive.Arg(d, &c.Username, directive.Word) },
		"password":          func() error { return secret(d, &c.Password) },
		"db":                func() error { return directive.Arg(d, &c.DB, directive.Integer(0, maxDB)) },
		"tls":               func() error { return c.parseTLS(d) },
		"dial_timeout":      func() error { return directive.Arg(d, &c.DialTimeout, directive.PositiveDuration) },
		"timeout":           func() error { return directive.Arg(d, &c.Timeout, directive.PositiveDuration) },
		"probe":             func() error { return c.parseProbe(d) },
		"pool":              func() error { return c.parsePool(d) },
		"prefix":            func() error { return directive.Arg(d, &c.Prefix, directive.Word) },
	})
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return d.WrapErr(fmt.Errorf("redis: %w", err))
	}
	return nil
}

func (c *ClientConfig) sentinel() *SentinelConfig {
	if c.Sentinel == nil {
		c.Sentinel = new(SentinelConfig)
	}
	return c.Sentinel
}

func (c *ClientConfig) parseSentinel(d *caddyfile.Dispenser) error {
	s := c.sentinel()
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("sentinel: expected the master's name and at least one sentinel's address")
	}
	s.Master, s.Addresses = args[0], args[1:]
	return nil
}

func (c *ClientConfig) parseTLS(d *caddyfile.Dispenser) error {
	if err := directive.End(d); err != nil {
		return err
	}
	t := new(TLSConfig)
	c.TLS = t
	return directive.Block(d, directive.Options{
		"ca":                   func() error { return directive.Arg(d, &t.CA, directive.Word) },
		"cert":                 func() error { return directive.Arg(d, &t.Cert, directive.Word) },
		"key":                  func() error { return directive.Arg(d, &t.Key, directive.Word) },
		"server_name":          func() error { return directive.Arg(d, &t.ServerName, directive.Word) },
		"insecure_skip_verify": func() error { return directive.Flag(d, &t.InsecureSkipVerify) },
	})
}

func (c *ClientConfig) parseProbe(d *caddyfile.Dispenser) error {
	if err := directive.End(d); err != nil {
		return err
	}
	p := new(ProbeConfig)
	c.Probe = p
	return directive.Block(d, directive.Options{
		"interval": func() error { return directive.Arg(d, &p.Interval, directive.PositiveDuration) },
		"timeout":  func() error { return directive.Arg(d, &p.Timeout, directive.PositiveDuration) },
	})
}

func (c *ClientConfig) parsePool(d *caddyfile.Dispenser) error {
	if err := directive.End(d); err != nil {
		return err
	}
	p := new(PoolConfig)
	c.Pool = p
	return directive.Block(d, directive.Options{
		"size":         func() error { return directive.Arg(d, &p.Size, directive.Integer(1, maxPool)) },
		"min_idle":     func() error { return directive.Arg(d, &p.MinIdle, directive.Integer(0, maxPool)) },
		"idle_timeout": func() error { return directive.Arg(d, &p.IdleTimeout, directive.PositiveDuration) },
		"lifetime":     func() error { return directive.Arg(d, &p.Lifetime, directive.PositiveDuration) },
		"queue":        func() error { return directive.Arg(d, &p.Queue, directive.Integer(1, maxQueue)) },
	})
}

// secret parses a password, or a URL that may hold one. A further argument is not quoted in the error: it is a part of a
// password with a blank in it.
func secret(d *caddyfile.Dispenser, dst *string) error {
	option := d.Val()
	if d.CountRemainingArgs() != 1 {
		return d.Errf("%s: expected one value, in quotes if it has blanks", option)
	}
	d.NextArg()
	return directive.Value(d, option, dst, directive.Word)
}

var _ caddyfile.Unmarshaler = (*ClientConfig)(nil)
