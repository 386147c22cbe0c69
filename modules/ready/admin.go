// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ready

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
)

func init() {
	caddy.RegisterModule(admin{})
}

// State is what GET /gatehouse/ready answers.
type State struct {
	// Ready is what the ready handlers say: false during a drain.
	Ready bool `json:"ready"`
	// Drain is whether the operator asked for a drain.
	Drain bool `json:"drain"`
	// Exiting is whether the process is about to end.
	Exiting bool `json:"exiting"`
}

// errNoHandler is the answer where nothing would tell anyone of a drain.
var errNoHandler = errors.New("no site of the running config has a `ready` directive, so nobody would notice a drain")

// admin serves the drain:
//
//	GET    /gatehouse/ready   the State
//	POST   /gatehouse/drain   begin a drain; the State
//	DELETE /gatehouse/drain   end it; the State
type admin struct{}

func (admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse_ready", New: func() caddy.Module { return new(admin) }}
}

// Routes returns the admin routes.
func (admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/gatehouse/ready", Handler: adminapi.Methods{http.MethodGet: serveReady}},
		{Pattern: "/gatehouse/drain", Handler: adminapi.Methods{http.MethodPost: serveDrain, http.MethodDelete: serveDrain}},
	}
}

func serveReady(*http.Request) (any, error) {
	current, err := configured()
	if err != nil {
		return nil, err
	}
	return current.state(), nil
}

func serveDrain(r *http.Request) (any, error) {
	current, err := configured()
	if err != nil {
		return nil, err
	}
	begin := r.Method == http.MethodPost
	if current.asked.Swap(begin) != begin {
		caddy.Log().Named("gatehouse.ready").Info(map[bool]string{true: "drain begins", false: "drain ends"}[begin])
	}
	return current.state(), nil
}

// configured finds the drain that the running config's handlers hold.
func configured() (*drain, error) {
	var found *drain
	drains.Range(func(_, value any) bool {
		found, _ = value.(*drain)
		return true
	})
	if found == nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusConflict, Err: errNoHandler}
	}
	return found, nil
}

func (d *drain) state() State {
	asked, exiting := d.asked.Load(), caddy.Exiting()
	return State{Ready: !asked && !exiting, Drain: asked, Exiting: exiting}
}

var _ caddy.AdminRouter = (*admin)(nil)
