// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package gatehouse brings every Gatehouse module and plugin into a Caddy build:
//
//	xcaddy build v2.11.9 --with github.com/gatehouse-proxy/gatehouse
//
// To leave a backend and its dependencies out, import modules and the plugins you want instead.
package gatehouse

import (
	_ "github.com/gatehouse-proxy/gatehouse/modules"
	_ "github.com/gatehouse-proxy/gatehouse/plugins"
)
