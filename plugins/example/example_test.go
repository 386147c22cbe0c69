// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package example_test

import (
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban/ipbantest"
	"github.com/gatehouse-proxy/gatehouse/plugins/example"
)

func TestConformance(t *testing.T) {
	ipbantest.Run(t, func(t *testing.T) ipban.Store {
		store := new(example.Store)
		if err := store.Provision(gatehousetest.Context(t)); err != nil {
			t.Fatal(err)
		}
		return store
	})
}

func TestInTheProxy(t *testing.T) {
	s := gatehousetest.Start(t, "{\n ip_bans {\n store example\n }\n}\n:8080 {\n ip_ban\n respond ok\n}")
	if got := s.Admin("POST", "/gatehouse/bans", `{"prefixes":["203.0.113.7"]}`); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.Body)
	}
	if got := s.Admin("GET", "/gatehouse/bans/check?address=203.0.113.7", ""); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.Body)
	}
	if err := s.Reload("{\n ip_bans {\n store example fast\n }\n}"); err == nil {
		t.Fatal("an option was accepted that the store does not have")
	}
}
