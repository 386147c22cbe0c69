// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/memory"
)

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

// JSON knows no lines, so its errors name the module and the option.
func TestJSONErrors(t *testing.T) {
	for name, c := range map[string]struct{ app, want string }{
		"CIDR":        {`{"allow":["10.0.0.0/33"]}`, `ip_bans: allow: expected an IP address or CIDR`},
		"max_bans":    {`{"max_bans":-1}`, `ip_bans: max_bans: expected a whole number of at least 1, found -1`},
		"ipv6_prefix": {`{"ipv6_prefix":129}`, `ip_bans: ipv6_prefix: expected a whole number from 32 to 128, found 129`},
		"store":       {`{"store":{"store":"nowhere"}}`, `ip_bans: loading the store`},
		"unknown":     {`{"allowed":[]}`, `unknown field "allowed"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := gatehousetest.Validate([]byte(`{"apps":{"ip_bans":` + c.app + `}}`))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Whatever is written, the parser returns: with an error that says where, or with a configuration that survives JSON.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{
		"ip_bans", "ip_bans {\n allow 10.0.0.0/8 ::1\n store memory\n max_bans 5\n ipv6_prefix 64\n dry_run\n}",
		"ip_ban {\n status 403\n close\n dry_run\n}", "ip_bans {\n allow\n}", "ip_ban {", "ip_bans {\n store memory {\n}\n}", "ip_ban x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range []caddyfile.Unmarshaler{new(ipban.App), new(ipban.Handler), new(ipban.Matcher)} {
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
