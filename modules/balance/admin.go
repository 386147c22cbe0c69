// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// The paths of the admin endpoint.
const (
	upstreamsPath = "/gatehouse/upstreams"
	drainPath     = upstreamsPath + "/drain"
	undrainPath   = upstreamsPath + "/undrain"
	weightPath    = upstreamsPath + "/weight"
)

// maxCommand bounds the body of a command to the admin endpoint, in bytes.
const maxCommand = 64 << 10

// maxListed bounds how many upstreams an error lists; a dynamic source may have brought thousands.
const maxListed = 100

// adminAPI shows the upstreams that this process knows, and changes what an operator may change without a reload:
//
//	GET  /gatehouse/upstreams          every upstream's Status
//	POST /gatehouse/upstreams/drain    {"upstream": "app1:3000"}
//	POST /gatehouse/upstreams/undrain  {"upstream": "app1:3000"}
//	POST /gatehouse/upstreams/weight   {"upstream": "app1:3000", "weight": 2} or {"upstream": "app1:3000", "reset": true}
//
// Each POST answers with the upstream's new Status. What an operator sets lasts until it is taken back or the process
// ends.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.gatehouse_upstreams",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (a adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: upstreamsPath, Handler: adminapi.Methods{http.MethodGet: a.list}},
		{Pattern: drainPath, Handler: command(func(u *upstream, _ Command) { registered.drain(u) }, checkDrain)},
		{Pattern: undrainPath, Handler: command(func(u *upstream, _ Command) { registered.undrain(u) }, checkDrain)},
		{Pattern: weightPath, Handler: command(func(u *upstream, c Command) { registered.setWeight(u, c.Weight) }, checkWeigh)},
	}
}

// Status is what the admin endpoint tells about an upstream.
type Status struct {
	// Address is the dial address as configured; placeholders in it are not expanded.
	Address string `json:"address"`
	// InFlight is the number of attempts that were sent and whose response is not complete.
	InFlight int64 `json:"in_flight"`
	// Requests is the number of attempts since the process began, whatever came of them. A retry is an attempt.
	Requests uint64 `json:"requests"`
	// Failures is how many of them had no answer, a status from 500, or a body that broke off. Cancelled attempts are not
	// among them, nor are health checks.
	Failures uint64 `json:"failures"`
	// Weight is the weight that counts: the operator's, or else the one of the newest config that names the upstream, or
	// else 1.
	Weight float64 `json:"weight"`
	// WeightOverridden says that Weight is the operator's.
	WeightOverridden bool `json:"weight_overridden"`
	// Drained says that the operator drained the upstream: it gets no new requests, and those in flight go on.
	Drained bool `json:"drained"`
	// Health is what active checks of running configs found out; empty without any.
	Health []HealthStatus `json:"health,omitempty"`
	// Estimates are what the policies that measure upstreams know of it; empty without any.
	Estimates []EstimateStatus `json:"estimates,omitempty"`
	// Dynamic says that no config has named the upstream: it came from a dynamic source.
	Dynamic bool `json:"dynamic"`
	// Policies are the selection policies whose running configs name the upstream, sorted.
	Policies []string `json:"policies"`
}

// Command is what a POST to the admin endpoint carries.
type Command struct {
	// Upstream is the dial address, as in Status. Required.
	Upstream string `json:"upstream"`
	// Weight is the new weight, from 0.001 to 1000. Required for weight unless Reset is set; an error elsewhere.
	Weight float64 `json:"weight,omitempty"`
	// Reset gives the upstream its configured weight back. Only for weight, and it excludes Weight. Default: false.
	Reset bool `json:"reset,omitempty"`
}

func checkDrain(c Command) error {
	if c.Weight != 0 || c.Reset {
		return errors.New("weight and reset belong to " + weightPath)
	}
	return nil
}

func checkWeigh(c Command) error {
	if c.Reset {
		if c.Weight != 0 {
			return errors.New("reset excludes weight")
		}
		return nil
	}
	if err := checkWeight(c.Weight); err != nil {
		return fmt.Errorf("weight: %w", err)
	}
	return nil
}

func (adminAPI) list(*http.Request) (any, error) { return registered.statuses(), nil }

// command makes a handler that checks the command and does it to the upstream that it names.
func command(do func(*upstream, Command), check func(Command) error) caddy.AdminHandler {
	return adminapi.Methods{http.MethodPost: func(r *http.Request) (any, error) {
		var c Command
		if err := adminapi.Read(r, maxCommand, &c); err != nil {
			return nil, err
		}
		if c.Upstream == "" {
			return nil, adminapi.Refuse(http.StatusBadRequest, "upstream is missing")
		}
		if err := check(c); err != nil {
			return nil, adminapi.Refuse(http.StatusBadRequest, "%w", err)
		}
		u, ok := registered.find(c.Upstream)
		if !ok {
			return nil, adminapi.Refuse(http.StatusNotFound, "%w", unknownUpstream(c.Upstream, registered.known()))
		}
		do(u, c)
		return registered.status(u), nil
	}}
}

func unknownUpstream(address string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("no upstream %q; none is known, as no policy of Gatehouse runs", address)
	}
	more := ""
	if n := len(known) - maxListed; n > 0 {
		known, more = known[:maxListed], fmt.Sprintf(", and %d more", n)
	}
	return fmt.Errorf("no upstream %q; known are: %s%s", address, strings.Join(known, ", "), more)
}

// statuses returns the status of every upstream, sorted by address.
func (r *registry) statuses() []Status {
	all := []Status{}
	for _, address := range r.known() {
		if u, ok := r.find(address); ok {
			all = append(all, r.status(u))
		}
	}
	return all
}

func (r *registry) status(u *upstream) Status {
	var sum totals
	sum.add(&u.tally, 0)
	s := Status{
		Address:          u.address,
		InFlight:         u.load(),
		Requests:         sum.requests(),
		Failures:         sum.failures(),
		WeightOverridden: u.weight.Load() != 0,
		Drained:          u.drained.Load(),
		Estimates:        u.estimateStatuses(),
		Policies:         []string{},
	}
	for _, state := range u.checks.used() {
		s.Health = append(s.Health, state.status())
	}
	configured, newest := 1.0, uint64(0)
	r.mu.RLock()
	s.Dynamic = !u.static
	for _, claim := range u.claims {
		s.Policies = append(s.Policies, claim.policy)
		if claim.order > newest {
			configured, newest = claim.weight, claim.order
		}
	}
	r.mu.RUnlock()
	slices.Sort(s.Policies)
	s.Policies = slices.Compact(s.Policies)
	s.Weight = u.weightOr(configured)
	return s
}

// Interface guard
var _ caddy.AdminRouter = adminAPI{}
