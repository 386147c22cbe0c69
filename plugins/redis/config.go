// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// ClientConfig configures one client. Exactly one of url, sentinel and cluster says where the servers are.
type ClientConfig struct {
	// URL is the address of one server: `redis://[user:password@]host[:port][/db]`, `rediss://...` for TLS, or
	// `unix://[user:password@]/path/to/socket`. The port is 6379 if left out. Special characters of a password are
	// percent-encoded, save in a placeholder's value, which is taken literally. Parameters (`?...`) are rejected.
	URL string `json:"url,omitempty"`
	// Sentinel finds the master through Redis Sentinel, also after a failover.
	Sentinel *SentinelConfig `json:"sentinel,omitempty"`
	// Cluster lists seed nodes of a Redis Cluster, as `host[:port]` with 6379 as the default port. The others are
	// discovered.
	Cluster []string `json:"cluster,omitempty"`
	// Username is the ACL user. Default: the URL's, or none, which means the user `default`.
	Username string `json:"username,omitempty"`
	// Password authenticates the user. Default: the URL's, or none.
	Password string `json:"password,omitempty"`
	// DB is the number of the database, 0 to 65535. Default: the URL's, or 0. A cluster has only 0.
	DB int `json:"db,omitempty"`
	// TLS encrypts the connections. Default: only where the URL begins with `rediss://`.
	TLS *TLSConfig `json:"tls,omitempty"`
	// DialTimeout bounds connecting, TLS included. Default and zero: 500ms.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`
	// Timeout bounds how long a request waits for an answer while Redis is healthy. It is no part of an outage, which the
	// prober ends: a short one makes a burst look like one. Default and zero: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Probe tunes how an outage is noticed.
	Probe *ProbeConfig `json:"probe,omitempty"`
	// Pool limits connections and waiting commands.
	Pool *PoolConfig `json:"pool,omitempty"`
	// Prefix begins every key, followed by the version of the key format: `<prefix>:1:...`. Proxies that share state have
	// the same prefix; others sharing the server have different ones. Default: `gatehouse`. It holds no braces, blanks
	// or control characters.
	Prefix string `json:"prefix,omitempty"`
}

// SentinelConfig says which master to ask which sentinels for.
type SentinelConfig struct {
	// Master is the name that the sentinels know the master by. Required.
	Master string `json:"master,omitempty"`
	// Addresses are those of sentinels, as `host[:port]` with 26379 as the default port. At least one.
	Addresses []string `json:"addresses,omitempty"`
	// Username is the ACL user at the sentinels. Default: none.
	Username string `json:"username,omitempty"`
	// Password is the password at the sentinels. Default: none; the servers' password is not used for them.
	Password string `json:"password,omitempty"`
}

// TLSConfig configures TLS 1.2 or newer to the servers, and to the sentinels.
type TLSConfig struct {
	// CA is a PEM file of the certificate authorities to trust. Default: the system's.
	CA string `json:"ca,omitempty"`
	// Cert is a PEM file of the client's certificate. Default: none; it needs a key.
	Cert string `json:"cert,omitempty"`
	// Key is the PEM file of the certificate's private key. Default: none.
	Key string `json:"key,omitempty"`
	// ServerName is the name to expect in the servers' certificates. Default: the host of each address.
	ServerName string `json:"server_name,omitempty"`
	// InsecureSkipVerify accepts any certificate: anyone on the way can read and change the traffic. Default: false.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

// ProbeConfig tunes the prober. An outage is noticed after at most 1.1 times the interval, plus the timeout.
type ProbeConfig struct {
	// Interval is the time from one probe's start to the next's, varied by a tenth either way; ten seconds after the last
	// command it becomes one second. Default and zero: 30ms. At least 10ms.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Timeout is how long Redis may be silent before it counts as down. Raise it for a server that is many milliseconds
	// away or runs slow commands. Default and zero: 150ms. At least 10ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// PoolConfig limits what a client may use. Requests share one pipelined connection (in a cluster, a few), whatever their
// number; the pool serves commands outside it, such as scans and streams.
type PoolConfig struct {
	// Size is the most connections per server outside the pipeline and subscriptions. Default and zero: 20.
	Size int `json:"size,omitempty"`
	// MinIdle is how many of them are kept open without use. Default: 0.
	MinIdle int `json:"min_idle,omitempty"`
	// IdleTimeout closes a connection that was idle for so long. Set it below the server's own `timeout`. Default and zero: 5m.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// Lifetime closes a connection of that age, varied by a tenth. Default and zero: none is closed for its age.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`
	// Queue is the most commands that may wait for an answer at a time; further ones fail at once. Default and zero: 32768.
	Queue int `json:"queue,omitempty"`
}

// check reports what is wrong whatever the values of placeholders will be.
func (c *ClientConfig) check() error {
	var places []string
	if c.URL != "" {
		places = append(places, "url")
	}
	if c.Sentinel != nil {
		places = append(places, "sentinel")
	}
	if len(c.Cluster) > 0 {
		places = append(places, "cluster")
	}
	if len(places) == 0 {
		return errors.New("expected a URL, or one of the options url, sentinel and cluster")
	}
	if len(places) > 1 {
		return fmt.Errorf("%s exclude each other", strings.Join(places, " and "))
	}
	if c.Sentinel != nil && (c.Sentinel.Master == "" || len(c.Sentinel.Addresses) == 0) {
		return errors.New("sentinel: expected the master's name and at least one sentinel's address")
	}
	if len(c.Cluster) > 0 && c.DB != 0 {
		return errors.New("db: a cluster has only database 0")
	}
	if c.TLS != nil && (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("tls: cert and key need each other")
	}
	if c.URL != "" && !strings.Contains(c.URL, "{") {
		if _, err := parseURL(c.URL); err != nil {
			return fmt.Errorf("url: %w", err)
		}
	}
	return c.checkLimits()
}

func (c *ClientConfig) checkLimits() error {
	probe, pool := c.probe(), c.pool()
	for name, v := range map[string]caddy.Duration{
		"dial_timeout": c.DialTimeout, "timeout": c.Timeout,
		"pool.idle_timeout": pool.IdleTimeout, "pool.lifetime": pool.Lifetime,
	} {
		if v < 0 {
			return fmt.Errorf("%s: expected a duration above zero", name)
		}
	}
	for name, v := range map[string]caddy.Duration{"probe.interval": probe.Interval, "probe.timeout": probe.Timeout} {
		if v != 0 && v < minProbe {
			return fmt.Errorf("%s: expected at least 10ms", name)
		}
	}
	for name, limit := range map[string]struct{ v, high int }{
		"db": {c.DB, maxDB}, "pool.size": {pool.Size, maxPool},
		"pool.min_idle": {pool.MinIdle, maxPool}, "pool.queue": {pool.Queue, maxQueue},
	} {
		if limit.v < 0 || limit.v > limit.high {
			return fmt.Errorf("%s: expected a number from 0 to %d", name, limit.high)
		}
	}
	return nil
}

func (c *ClientConfig) probe() ProbeConfig {
	if c.Probe == nil {
		return ProbeConfig{}
	}
	return *c.Probe
}

func (c *ClientConfig) pool() PoolConfig {
	if c.Pool == nil {
		return PoolConfig{}
	}
	return *c.Pool
}
