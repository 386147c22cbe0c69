// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// failing is an app that cannot start.
type failing struct{}

func (failing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_failing", New: func() caddy.Module { return new(failing) }}
}

func (failing) Start() error { return errors.New("this app never starts") }
func (failing) Stop() error  { return nil }

var registerFailing = sync.OnceFunc(func() { caddy.RegisterModule(failing{}) })

// AddFailing adds an app that cannot start, so that the config is rejected when all of it is provisioned, and some of it has
// started.
func AddFailing(apps map[string]any) {
	registerFailing()
	apps["test_failing"] = map[string]any{}
}

// Spoil adapts a Caddyfile with one site, and has change alter the apps and return the site's routes.
func Spoil(t testing.TB, caddyfile string, change func(apps map[string]any, routes []any) []any) []byte {
	t.Helper()
	adapted, err := Adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	var cfg map[string]any
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	apps := cfg["apps"].(map[string]any)
	server := apps["http"].(map[string]any)["servers"].(map[string]any)["srv0"].(map[string]any)
	server["routes"] = change(apps, server["routes"].([]any))
	spoilt, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return spoilt
}
