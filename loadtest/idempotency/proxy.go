// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/gatehouse-proxy/gatehouse"
)

// proxyVariable carries a proxy process's configuration; its presence makes this program one.
const proxyVariable = "GATEHOUSE_FAULTS_PROXY"

// Algorithms.
const (
	algorithmGatehouse = "gatehouse"
	algorithmPrecise   = "precise"
	algorithmLock      = "lock-ttl"
	algorithmSetNX     = "set-nx"
)

// proxyConfig is what a proxy process needs to know.
type proxyConfig struct {
	Algorithm, Listen  string
	Redis, Application string
	Socket             string            // of Redis, for the client `socket`; empty for none
	Further            map[string]string // further sites: where each listens, and what it has in place of the algorithm
}

// caddyfile is the proxy's configuration.
func (c proxyConfig) caddyfile() (string, error) {
	directive := ""
	switch c.Algorithm {
	case algorithmGatehouse, algorithmPrecise:
		directive = fmt.Sprintf("idempotency_key {\n lease %s\n wait 3s\n ttl 1h\n", lease)
		if c.Algorithm == algorithmPrecise {
			directive += " precise\n"
		}
		directive += "}"
	case algorithmLock, algorithmSetNX:
		directive = fmt.Sprintf("control %s %s %s", c.Algorithm, c.Redis, lease)
	default:
		return "", fmt.Errorf("algorithm: expected gatehouse, precise, lock-ttl or set-nx, found %q", c.Algorithm)
	}
	sites := c.site(c.Listen, directive)
	for listen, directive := range c.Further {
		sites += c.site(listen, directive)
	}
	clients := "redis redis://" + c.Redis
	if c.Socket != "" {
		clients += "\n redis socket unix://" + c.Socket
	}
	return fmt.Sprintf("{\n admin off\n persist_config off\n order control before reverse_proxy\n %s\n log {\n  level PANIC\n }\n}\n", clients) + sites, nil
}

func (c proxyConfig) site(listen, directive string) string {
	return fmt.Sprintf("http://%s {\n bind 127.0.0.2\n %s\n reverse_proxy %s {\n  lb_retries 2\n  lb_retry_match {\n   method POST\n  }\n }\n}\n",
		listen, directive, c.Application)
}

// serveProxy is the whole of a proxy process.
func serveProxy(text string) {
	var config proxyConfig
	err := json.Unmarshal([]byte(text), &config)
	if err == nil {
		err = config.load()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		time.Sleep(time.Hour) // until it is killed
	}
}

func (c proxyConfig) load() error {
	text, err := c.caddyfile()
	if err != nil {
		return err
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting the proxy's configuration: %w", err)
	}
	return caddy.Load(adapted, true)
}
