// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
)

// namer is the interface of the guests here.
type namer interface{ Name() string }

type (
	memory struct{}
	shared struct{}
	host   struct {
		StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=test.stores inline_key=store"`
	}
	// fakeRedis stands in for the redis app, which is a plugin that hosts never import. It fails to provision on demand.
	fakeRedis struct {
		Default bool `json:"default,omitempty"`
		Broken  bool `json:"broken,omitempty"`
	}
)

func init() {
	caddy.RegisterModule(memory{})
	caddy.RegisterModule(shared{})
	caddy.RegisterModule(fakeRedis{})
}

func (memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test.stores.memory", New: func() caddy.Module { return new(memory) }}
}

func (shared) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test.stores.redis", New: func() caddy.Module { return new(shared) }}
}

func (fakeRedis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.App, New: func() caddy.Module { return new(fakeRedis) }}
}
func (memory) Name() string           { return "memory" }
func (shared) Name() string           { return "redis" }
func (*fakeRedis) Start() error       { return nil }
func (*fakeRedis) Stop() error        { return nil }
func (f *fakeRedis) HasDefault() bool { return f.Default }
func (f *fakeRedis) Validate() error {
	if f.Broken {
		return caddy.ErrEventAborted // any error will do
	}
	return nil
}

func load(t *testing.T, namespace, app string, raw json.RawMessage) (namer, error) {
	t.Helper()
	cfg := &caddy.Config{Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: new(bool)}}}
	if app != "" {
		cfg.AppsRaw = caddy.ModuleMap{backend.App: json.RawMessage(app)}
	}
	ctx, err := caddy.ProvisionContext(cfg)
	if err != nil {
		return nil, err // the app itself is broken, which Caddy finds before any host does
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	return backend.Load[namer](ctx, &host{StoreRaw: raw}, "StoreRaw", namespace, raw)
}

func TestLoad(t *testing.T) {
	tests := map[string]struct {
		app, raw, want string
	}{
		"no redis app":              {"", "", "memory"},
		"an app without a default":  {`{}`, "", "memory"},
		"a default client":          {`{"default":true}`, "", "redis"},
		"memory by name beats both": {`{"default":true}`, `{"store":"memory"}`, "memory"},
		"redis by name":             {"", `{"store":"redis"}`, "redis"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var raw json.RawMessage
			if test.raw != "" {
				raw = json.RawMessage(test.raw)
			}
			got, err := load(t, "test.stores", test.app, raw)
			if err != nil || got.Name() != test.want {
				t.Fatalf("got %v, %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	if _, err := load(t, "test.nowhere", "", nil); err == nil || !strings.Contains(err.Error(), "test.nowhere.memory is not in this build") {
		t.Errorf("a default that is not compiled in gave %v", err)
	}
	if _, err := load(t, "test.stores", "", json.RawMessage(`{"store":"nosuch"}`)); err == nil {
		t.Error("an unknown store was accepted")
	}
	if _, err := load(t, "test.stores", `{"broken":true}`, nil); err == nil {
		t.Error("a redis app that cannot be loaded turned into memory without a word")
	}
}
