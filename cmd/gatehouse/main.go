// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command gatehouse is Caddy with Gatehouse's modules: one binary in front of existing applications.
package main

import (
	"errors"
	"log"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/gatehouse-proxy/gatehouse"
	"github.com/gatehouse-proxy/gatehouse/modules/collector"
	"github.com/gatehouse-proxy/gatehouse/modules/processors"
)

func main() {
	caddy.CustomBinaryName = "gatehouse"
	caddy.CustomLongDescription = "Gatehouse is Caddy with what an application needs in front of it, in one binary."
	if err := errors.Join(collector.Adapt(), processors.Adapt()); err != nil {
		log.Fatal(err)
	}
	caddycmd.Main()
}
