// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// documentedOrder is the way of a request: each directive as it may be written, and the handler it turns into.
var documentedOrder = []struct{ line, handler string }{
	{"ready /ready", "ready"},
	{"ip_ban", "ip_ban"},
	{"request_limit 100 1m", "request_limit"},
	{"redir /old /new", "static_response"},
	{"rewrite /a /b", "rewrite"},
	{"basic_auth {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}", "authentication"},
	{"response_cache", "response_cache"},
	{"encode gzip", "encode"},
	{"idempotency_key", "idempotency_key"},
	{"reverse_proxy 127.0.0.1:9", "reverse_proxy"},
}

func TestOrderOfDirectives(t *testing.T) {
	var lines, want []string
	for _, d := range documentedOrder {
		if _, err := caddy.GetModule("http.handlers." + d.handler); err != nil {
			continue // of a capability that this build does not have
		}
		lines = append(lines, d.line)
		want = append(want, d.handler)
	}
	if len(want) < 6 {
		t.Fatalf("only %v are in this build", want)
	}
	for seed := range uint64(20) {
		shuffled := slices.Clone(lines)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		config, err := gatehousetest.Adapt(":8080 {\n" + strings.Join(shuffled, "\n") + "\n}")
		if err != nil {
			t.Fatal(err)
		}
		if got := handlers(t, config); !slices.Equal(got, want) {
			t.Fatalf("from %q:\n got %v\nwant %v", shuffled, got, want)
		}
	}
}

// handlers lists the handlers of a config with one site, in the order in which a request meets them.
func handlers(t *testing.T, config []byte) []string {
	t.Helper()
	var cfg struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes []struct {
						Handle []struct{ Handler string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, server := range cfg.Apps.HTTP.Servers {
		for _, route := range server.Routes {
			for _, handler := range route.Handle {
				names = append(names, handler.Handler)
			}
		}
	}
	return names
}
