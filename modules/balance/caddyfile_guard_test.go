// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// The values that a Caddyfile cannot give, or that JSON gives otherwise.
func TestGuardJSONErrors(t *testing.T) {
	for options, want := range map[string]string{
		`"inner":{"policy":"nosuch"}`:          "loading the guarded policy",
		`"inner":{}`:                           "loading the guarded policy",
		`"inner":7`:                            "reading the guarded policy",
		`"inner":{"policy":"header"}`:          "guarded policy header: key header: name is missing",
		`"inner":{"policy":"guard"}`:           "two policies, one within the other",
		`"inner":{"policy":"least_bandwidth"}`: "guard and least_bandwidth",
		`"inner":{"policy":"consistent_hash"},"weights":{"a:1":2}`:                      "weights around consistent_hash have no effect",
		`"inner":{"policy":"weighted_round_robin","weights":[1,2]},"weights":{"a:1":2}`: "weights around weighted_round_robin have no effect",
		`"weights":{"a:1":0}`:                   "expected a number from 0.001 to 1000, found 0",
		`"weights":{"c:1":1}`:                   `weight of upstream "c:1": reverse_proxy has no such upstream; it has: a:1, b:1`,
		`"policies":1`:                          `unknown field "policies"`,
		`"eject":{"panic":2}`:                   "panic: expected",
		`"health":{"interval":-1}`:              "health: interval: expected a duration from 1ms to 24h, found -1ns",
		`"health":{"timeout":1}`:                "health: timeout: expected a duration from 1ms to 24h, found 1ns",
		`"health":{"jitter":0.6}`:               "health: jitter: expected 0 to 0.5, found 0.6",
		`"health":{"jitter":-0.1}`:              "health: jitter: expected 0 to 0.5, found -0.1",
		`"health":{"fails":-1}`:                 "health: fails: expected a whole number from 1 to 1000, found -1",
		`"health":{"passes":1001}`:              "health: passes: expected a whole number from 1 to 1000, found 1001",
		`"health":{"port":65536}`:               "health: port: expected 1 to 65535, found 65536",
		`"health":{"uri":"https://x/"}`:         `health: uri: expected a path that begins with a slash`,
		`"health":{"uri":"/%zz"}`:               `health: uri: parse`,
		`"health":{"method":"GET /"}`:           `health: method: "GET /" is none`,
		`"health":{"headers":{"a b":["c"]}}`:    `health: headers: "a b" is no header field's name`,
		`"health":{"headers":{"a":["\n"]}}`:     `health: headers: the value of a has characters`,
		`"health":{"status":[600]}`:             "health: status: expected a status such as 503 or a class such as 5xx, found 600",
		`"health":{"body":"("}`:                 "health: body: error parsing regexp",
		`"health":{"body":"x","method":"HEAD"}`: "health: body: an answer to HEAD has none",
		`"health":{"initial":"ill"}`:            "health: initial: expected one of up, down, unknown, found \"ill\"",
		`"health":{"uris":"/"}`:                 `unknown field "uris"`,
	} {
		config := `{"apps":{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"reverse_proxy",
			"upstreams":[{"dial":"a:1"},{"dial":"b:1"}],
			"load_balancing":{"selection_policy":{"policy":"guard",` + options + `}}}]}]}}}}}`
		if err := gatehousetest.Validate([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v, want %q", options, err, want)
		}
	}
}

// FuzzGuard checks the intervals of health checks too.
func FuzzGuard(f *testing.F) {
	fuzzEstimating(f, func(t *testing.T, p *Guard) {
		if p.Health != nil {
			made, err := p.Health.parse(nil)
			if err != nil {
				t.Fatalf("accepted, but not its JSON: %v", err)
			}
			if low, high := made.next(0), made.next(1); low < made.interval/2 || high > made.interval*3/2 {
				t.Fatalf("intervals from %s to %s", low, high)
			}
		}
		if len(p.InnerRaw) > 0 {
			_, _ = natureOf(p.InnerRaw)
		}
	})
}
