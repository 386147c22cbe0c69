// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package backend decides which store a host loads: the one its configuration names, else Redis where a default client is
// configured, else memory.
package backend

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// App is the ID of the app whose default client makes Redis the default store.
const App = "redis"

// Clients is what the app of that ID tells about itself. It is asked for by interface, because hosts know no Redis.
type Clients interface {
	// HasDefault reports whether a client without a name is configured.
	HasDefault() bool
}

// Load loads the guest of host's raw field, whose caddy tag names the namespace and the inline key. If the field is empty
// it loads `<namespace>.redis` where a default Redis client is configured, else `<namespace>.memory`.
//
// It fails, naming the module, if that guest is not in this build, does not implement T, or if the redis app itself cannot
// be loaded: a broken shared store must never turn silently into one store a process.
func Load[T any](ctx caddy.Context, host any, field, namespace string, raw json.RawMessage) (T, error) {
	var none T
	guest, err := load(ctx, host, field, namespace, raw)
	if err != nil {
		return none, err
	}
	store, ok := guest.(T)
	if !ok {
		return none, fmt.Errorf("store module %T of namespace %s does not implement %s", guest, namespace, reflect.TypeFor[T]())
	}
	return store, nil
}

func load(ctx caddy.Context, host any, field, namespace string, raw json.RawMessage) (any, error) {
	if raw != nil {
		guest, err := ctx.LoadModule(host, field)
		if err != nil {
			return nil, fmt.Errorf("loading the store: %w", err)
		}
		return guest, nil
	}
	name, err := fallback(ctx)
	if err != nil {
		return nil, err
	}
	id := namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return nil, fmt.Errorf("the default store %s is not in this build, which has: %s; "+
			"build with the package that registers it, or choose a store by name", id, directive.Compiled(namespace))
	}
	guest, err := ctx.LoadModuleByID(id, nil)
	if err != nil {
		return nil, fmt.Errorf("loading the default store %s: %w", id, err)
	}
	return guest, nil
}

// fallback names the default store. Only the absence of the app, or of a default client in it, means memory.
func fallback(ctx caddy.Context) (string, error) {
	app, err := ctx.AppIfConfigured(App)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return "memory", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for a default Redis client: %w", err)
	}
	clients, ok := app.(Clients)
	if !ok {
		return "", fmt.Errorf("app %q (%T) does not implement %s", App, app, reflect.TypeFor[Clients]())
	}
	if clients.HasDefault() {
		return "redis", nil
	}
	return "memory", nil
}
