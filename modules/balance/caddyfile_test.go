// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestFixtures(t *testing.T) {
	gatehousetest.Fixtures(t, "testdata/*.caddyfiletest")
}

// The values that a Caddyfile cannot give, or that JSON gives otherwise.
func TestJSONErrors(t *testing.T) {
	for policy, want := range map[string]string{
		`"key":"header"`:                            "key header: name is missing",
		`"key":"uri","name":"x"`:                    `key uri has no name, found "x"`,
		`"key":"port"`:                              `unknown key "port"; expected one of: client_ip, cookie, header, placeholder, query, uri`,
		`"key":"placeholder"`:                       "it needs at least one",
		`"key":"uri","placeholders":["{x}"]`:        "placeholders belong to key placeholder",
		`"balance_factor":0.5`:                      "balance_factor: expected a number from 1 to 1000, found 0.5",
		`"balance_factor":2,"unbounded":true`:       "unbounded excludes balance_factor",
		`"weights":{"app1:3000":0}`:                 "expected a number from 0.001 to 1000, found 0",
		`"weights":{"app9:3000":1}`:                 `weight of upstream "app9:3000": reverse_proxy has no such upstream; it has: app1:3000`,
		`"hot_keys":{"off":true,"share":0.3}`:       "hot_keys: off excludes the other options",
		`"hot_keys":{"share":-1}`:                   "hot_keys: share: expected a number from 0.001 to 100, found -1",
		`"hot_keys":{"half_life":1000}`:             "hot_keys: half_life: expected at least 1s",
		`"hot_keys":{"above":-1}`:                   "hot_keys: above: expected 1 to 1000000, found -1",
		`"fallback":{"policy":"nosuch"}`:            "loading the fallback policy",
		`"replicas":3`:                              `unknown field "replicas"`,
		`"fallback":{"policy":"header","field":""}`: "loading the fallback policy",
	} {
		config := `{"apps":{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"reverse_proxy",
			"upstreams":[{"dial":"app1:3000"}],
			"load_balancing":{"selection_policy":{"policy":"consistent_hash",` + policy + `}}}]}]}}}}}`
		if err := gatehousetest.Validate([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v, want %q", policy, err, want)
		}
	}
}

func TestOutsideOfReverseProxy(t *testing.T) {
	_, err := gatehousetest.Context(t).LoadModuleByID("http.reverse_proxy.selection_policies.consistent_hash", nil)
	if err == nil || !strings.Contains(err.Error(), "works within reverse_proxy only") {
		t.Fatalf("got %v", err)
	}
}

// fuzzPolicy has the parser of a policy read what comes, begun with the policies of the fixtures, and checks what was
// accepted as it reads back from its JSON.
func fuzzPolicy[T any, P interface {
	*T
	caddyfile.Unmarshaler
}](f *testing.F, check func(t *testing.T, p P)) {
	gatehousetest.Seeds(f, "testdata/*.caddyfiletest", func(fixture string) string {
		_, policy, _ := strings.Cut(fixture, "lb_policy ")
		policy, _, _ = strings.Cut(policy, "\n}\n")
		return policy
	})
	f.Fuzz(func(t *testing.T, input string) {
		p := P(new(T))
		if p.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)) != nil {
			return
		}
		encoded, err := json.Marshal(p)
		if err != nil {
			t.Fatalf("%q: %v", input, err)
		}
		again := P(new(T))
		if err := caddy.StrictUnmarshalJSON(encoded, again); err != nil {
			t.Fatalf("%q became %s, which does not read back: %v", input, encoded, err)
		}
		check(t, again)
	})
}

func FuzzConsistentHash(f *testing.F) {
	fuzzPolicy(f, func(t *testing.T, p *ConsistentHash) {
		if _, err := p.newRule(); err != nil {
			t.Fatalf("accepted, but not its JSON: %v", err)
		}
		for address, weight := range p.Weights {
			if address == "" || checkWeight(weight) != nil {
				t.Fatalf("the weight %q: %g", address, weight)
			}
		}
	})
}
