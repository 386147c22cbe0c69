// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

// JSON knows no lines, so its errors name the module and the option.
func TestJSONErrors(t *testing.T) {
	const site = `{"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[%]}]}}}}}`
	for name, c := range map[string]struct{ handlers, want string }{
		"budget":      {`{"handler":"response_cache","budget":1000}`, "response_cache: budget: expected 1 MiB to 1 TiB"},
		"much":        {`{"handler":"response_cache","budget":4611686018427387904}`, "response_cache: budget: expected 1 MiB to 1 TiB"},
		"in_flight":   {`{"handler":"response_cache","in_flight":4611686018427387904}`, "response_cache: in_flight: expected"},
		"grace":       {`{"handler":"response_cache","grace":4611686018427387904}`, "expected at most 68 years"},
		"budgets":     {`{"handler":"response_cache","budget":2000000},{"handler":"response_cache","budget":3000000}`, "response_cache: budget: 3000000 bytes here and 2000000 bytes on another site"},
		"max_object":  {`{"handler":"response_cache","max_object":200000000}`, "response_cache: max_object: expected 1 byte to a quarter of the budget"},
		"variants":    {`{"handler":"response_cache","variants":-1}`, "response_cache: variants: expected a whole number"},
		"status_ttl":  {`{"handler":"response_cache","status_ttl":{"206":"1m"}}`, "response_cache: status_ttl: expected a status"},
		"default_ttl": {`{"handler":"response_cache","default_ttl":-1}`, "expected no negative duration"},
		"store":       {`{"handler":"response_cache","store":{"store":"nowhere"}}`, "response_cache: loading the store"},
		"unknown":     {`{"handler":"response_cache","size":1}`, `unknown field "size"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := gatehousetest.Validate([]byte(strings.Replace(site, "%", c.handlers, 1)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Whatever is written, the parser returns: with an error that says where, or with a configuration that survives JSON.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{
		"response_cache", "response_cache 256MiB", "response_cache {\n ttl 200 404 1m\n ttl 5s\n grace 1m\n}", "response_cache 5",
		"response_cache {\n query {\n ignore utm_*\n sort\n }\n}", "response_cache {\n heuristic off\n bypass {x} {y}\n key {z}\n}",
		"response_caches {\n purge_feed off\n}", "response_cache {\n query\n}", "response_cache {\n ttl\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range []caddyfile.Unmarshaler{new(respcache.Handler), new(respcache.App)} {
			if err := v.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
				continue
			}
			encoded, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("%q was accepted and has no JSON: %v", text, err)
			}
			if err := json.Unmarshal(encoded, v); err != nil {
				t.Fatalf("%q was accepted and its JSON %s is not: %v", text, encoded, err)
			}
		}
	})
}
