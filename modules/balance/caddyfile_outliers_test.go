// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// The values that a Caddyfile cannot give, or that JSON gives otherwise.
func TestEstimatingJSONErrors(t *testing.T) {
	for _, c := range []struct{ policy, options, want string }{
		{"response_time", `"measure":"time"`, `measure: expected headers or body, found "time"`},
		{"response_time", `"memory":1000`, "memory: expected a duration from 100ms to 1h, found 1µs"},
		{"response_time", `"memory":-1`, "memory: expected a duration"},
		{"response_time", `"band":1000`, "band: expected a number from 0 to 100, found 1000"},
		{"response_time", `"explore":0.00001`, "explore: expected a number from 0.0001 to 1, found 1e-05"},
		{"response_time", `"weights":{"app1:3000":-1}`, "expected a number from 0.001 to 1000, found -1"},
		{"response_time", `"zones":[["app9:3000"]]`, `zone: reverse_proxy has no upstream "app9:3000"; it has: app1:3000`},
		{"response_time", `"zones":[["app1:3000"],["app1:3000"]]`, `zone: upstream "app1:3000" is in two zones`},
		{"response_time", `"failure_status":[6]`, "failure_status: expected a status such as 503 or a class such as 5xx, found 6"},
		{"response_time", `"eject":{"off":true,"after":3}`, "eject: off excludes the other options"},
		{"response_time", `"eject":{"after":1001}`, "eject: after: expected at most 1000, found 1001"},
		{"response_time", `"eject":{"ratio":1.5}`, "eject: ratio: expected a number from 0.01 to 1, found 1.5"},
		{"response_time", `"eject":{"max_ejected":-1}`, "eject: max_ejected: expected a number from 0.01 to 1, found -1"},
		{"response_time", `"eject":{"panic":0.001}`, "eject: panic: expected a number from 0.01 to 1, found 0.001"},
		{"response_time", `"probe":{"first":1}`, "probe: first: expected a duration from 100ms to 10m, found 1ns"},
		{"response_time", `"probe":{"first":20000000000,"longest":10000000000}`, "probe: longest: expected a duration from 20s (first) to 10m, found 10s"},
		{"response_time", `"probe":{"successes":-1}`, "probe: successes: expected a number from 1 to 100, found -1"},
		{"response_time", `"ramp":"25h"`, "ramp: expected at most 24h, found 25h"},
		{"bandwidth", `"memory":-1`, "memory: expected a duration"},
		{"bandwidth", `"measure":"body"`, `unknown field "measure"`},
		{"bandwidth", `"weights":{"app9:3000":1}`, `weight of upstream "app9:3000": reverse_proxy has no such upstream`},
	} {
		config := fmt.Sprintf(`{"apps":{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"reverse_proxy",
			"upstreams":[{"dial":"app1:3000"}],
			"load_balancing":{"selection_policy":{"policy":"least_%s",%s}}}]}]}}}}}`, c.policy, c.options)
		if err := gatehousetest.Validate([]byte(config)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("least_%s %s gave %v, want %q", c.policy, c.options, err, c.want)
		}
	}
}

// Two policies of one handler that measure would each see a part of the truth.
func TestOneEstimatingPolicyAHandler(t *testing.T) {
	o := new(observer)
	if err := o.estimateBy(&estimation{book: &book{policy: guard}}); err != nil {
		t.Fatal(err)
	}
	if err := o.estimateBy(&estimation{book: &book{policy: leastBandwidth}}); err == nil || !strings.Contains(err.Error(), "guard and least_bandwidth") {
		t.Fatalf("got %v", err)
	}
}

// estimatingPolicy is what the parsers of the policies have in common that estimate.
type estimatingPolicy interface {
	caddyfile.Unmarshaler
	params() (estimator.Params, error)
}

// fuzzEstimating checks that what a parser accepts is accepted again from its JSON, with more checks of the caller's.
func fuzzEstimating[T any, P interface {
	*T
	estimatingPolicy
}](f *testing.F, check func(t *testing.T, p P)) {
	fuzzPolicy(f, func(t *testing.T, p P) {
		params, err := p.params()
		if err = errors.Join(err, params.Validate()); err != nil {
			t.Fatalf("accepted, but not its JSON: %v", err)
		}
		if check != nil {
			check(t, p)
		}
	})
}

func FuzzLeastResponseTime(f *testing.F) { fuzzEstimating[LeastResponseTime](f, nil) }

func FuzzLeastBandwidth(f *testing.F) { fuzzEstimating[LeastBandwidth](f, nil) }
