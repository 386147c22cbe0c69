// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// Admin is the admin route `GET /gatehouse/redis`: the state of every client of the running config, ordered by name.
type Admin struct{}

// Status is one client's state.
type Status struct {
	// Name is the client's name in the configuration.
	Name string `json:"name"`
	// Mode is "standalone", "sentinel" or "cluster".
	Mode string `json:"mode"`
	// Addresses are the configured ones, of the server, the sentinels or the cluster's seeds. They hold no secrets.
	Addresses []string `json:"addresses"`
	// Prefix begins every key.
	Prefix string `json:"prefix"`
	// State is "unused" before the first command, then "up" or "down".
	State State `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since"`
	// LastError is why the last probe that failed did; it stays after a recovery. Default: none.
	LastError string `json:"last_error,omitempty"`
	// LastErrorAt is when that was. Default: absent.
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	// Servers are the servers that the prober is connected to, or was last. Default: none.
	Servers []Facts `json:"servers,omitempty"`
	// Pings counts the probes that ended since the client was made.
	Pings uint64 `json:"pings"`
	// FailedPings counts those that failed or were late.
	FailedPings uint64 `json:"failed_pings"`
	// Opens counts how often the breaker opened.
	Opens uint64 `json:"opens"`
	// Queued is the number of commands that wait to be sent.
	Queued int `json:"queued"`
}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse_redis", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/gatehouse/redis", Handler: caddy.AdminHandlerFunc(serveStatus)}}
}

func serveStatus(w http.ResponseWriter, r *http.Request) error {
	if err := adminapi.Allow(w, r, http.MethodGet); err != nil {
		return err
	}
	found := running()
	list := make([]Status, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[name].Status())
	}
	return adminapi.Answer(w, list)
}

// Status returns the client's state.
func (c *Client) Status() Status {
	s := Status{Name: c.settings.Name, Mode: c.settings.Mode, Addresses: c.settings.Addresses, Prefix: c.keys}
	if facts := c.facts.Load(); facts != nil {
		s.Servers = *facts
	}
	if l := c.line.Load(); l != nil {
		s.Queued = l.pipe.Len()
	}
	b := c.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	s.State, s.Since, s.Opens, s.Pings, s.FailedPings = b.state, b.since, b.opens, b.probes, b.failed
	if b.lastErr != nil {
		at := b.errAt
		s.LastError, s.LastErrorAt = b.lastErr.Error(), &at
	}
	return s
}

var _ caddy.AdminRouter = (*Admin)(nil)
