// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

// Errors of the parser are printed and logged.
func TestParserErrorsTellNoSecret(t *testing.T) {
	for _, options := range []string{
		"redis redis://:hunter2@host:port", "redis redis://:hunter2@", "redis x y redis://:hunter2@host", "redis :hunter2@host",
		"redis redis://a redis://:hunter2@b", "redis redis://a {\npassword x hunter2\n}", "redis redis://:hunter2@h?x=1",
		"redis redis://h:1 {\nurl redis://:hunter2@h\n}", "redis {\nsentinel m a\nsentinel_password x hunter2\n}",
	} {
		_, err := gatehousetest.Adapt(site(options))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s gives %v", options, err)
		}
	}
}

// Whatever the parser takes is valid, and says the same in JSON.
func FuzzCaddyfile(f *testing.F) {
	gatehousetest.Seeds(f, "testdata/*.caddyfiletest", func(fixture string) string {
		_, options, _ := strings.Cut(fixture, "{\n")
		options, _, _ = strings.Cut(options, "\n}\n:8080")
		return options
	})
	f.Fuzz(func(t *testing.T, options string) {
		d := caddyfile.NewTestDispenser(options)
		value, err := parseGlobal(d, nil)
		if err != nil {
			return
		}
		var app App
		if err := json.Unmarshal(value.(httpcaddyfile.App).Value, &app); err != nil {
			t.Fatal(err)
		}
		if len(app.Clients) != 1 {
			t.Fatalf("%q gives %d clients", options, len(app.Clients))
		}
		for name, config := range app.Clients {
			if err := config.check(); err != nil || !validName(name) {
				t.Fatalf("%q is accepted, but %v", options, err)
			}
			text, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			var again ClientConfig
			if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(&again, config) {
				t.Fatalf("%q reads back as %+v, %v", options, again, err)
			}
		}
	})
}
