// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// During maintenance, what is drained is no part of the pool: when one of those that serve fails, it is ejected as ever,
// and not needed because so few are left.
func TestMaintenanceIsNoPanic(t *testing.T) {
	for _, policy := range []string{"least_response_time", "guard {\npolicy round_robin\n}"} {
		t.Run(strings.Fields(policy)[0], func(t *testing.T) {
			backends := startBackends(t, 4)
			sick := startFlaky(t)
			s := gatehousetest.Start(t, site(addresses(backends)+" "+sick.address, "lb_policy "+policy))
			for range 20 {
				s.Get("/")
			}
			for _, b := range backends[:3] {
				post(t, s, "drain", upstreamJSON(b.address, ""))
				defer post(t, s, "undrain", upstreamJSON(b.address, ""))
			}
			sick.failing.Store(true)
			if failed := errorsOf(s, 200, 1); failed[http.StatusInternalServerError] > 10 {
				t.Errorf("with three of five drained, one of the others fails: %v", failed)
			}
		})
	}
}

// Nor do those that are drained, and well, hide that all others are ill in Caddy's eyes, which is no reason to refuse.
func TestMaintenanceHidesNoPanic(t *testing.T) {
	var served [2]atomic.Int64
	backends := startBackends(t, 3)
	s := gatehousetest.Start(t, site(addresses(backends)+" "+failing(t, .1, &served[0])+" "+failing(t, .1, &served[1]),
		guarded("round_robin", "")+"\nfail_duration 10s\nunhealthy_status 5xx"))
	for _, b := range backends {
		post(t, s, "drain", upstreamJSON(b.address, ""))
		defer post(t, s, "undrain", upstreamJSON(b.address, ""))
	}
	if failed := errorsOf(s, 500, 1); failed[http.StatusServiceUnavailable] > 0 {
		t.Errorf("the proxy refused requests: %v", failed)
	}
}

// Caddy's passive checks take both of two upstreams out that fail a tenth of their requests each. That is no reason to
// refuse, though no guard stands around the policy.
func TestPassiveChecksRefuseNothing(t *testing.T) {
	for _, policy := range []string{"least_response_time", "least_bandwidth", "consistent_hash query k", "consistent_hash header X-None"} {
		t.Run(policy, func(t *testing.T) {
			var served [2]atomic.Int64
			s := gatehousetest.Start(t, site(failing(t, .1, &served[0])+" "+failing(t, .1, &served[1]),
				"lb_policy "+policy+"\nfail_duration 10s\nunhealthy_status 5xx"))
			failed := errorsOf(s, 500, 1)
			if failed[http.StatusServiceUnavailable] > 0 || failed[http.StatusInternalServerError] == 0 {
				t.Errorf("failed, by status: %v; want the upstreams' own failures alone", failed)
			}
		})
	}
}
