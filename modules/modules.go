// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package modules imports every host module of Gatehouse: the directives, policies, commands and admin routes.
// None of them imports a plugin, so a build of this package alone has no Redis client and no ristretto in it.
package modules

import (
	_ "github.com/gatehouse-proxy/gatehouse/modules/balance"
	_ "github.com/gatehouse-proxy/gatehouse/modules/collector"
	_ "github.com/gatehouse-proxy/gatehouse/modules/front"
	_ "github.com/gatehouse-proxy/gatehouse/modules/idempotency"
	_ "github.com/gatehouse-proxy/gatehouse/modules/ipban"
	_ "github.com/gatehouse-proxy/gatehouse/modules/logship"
	_ "github.com/gatehouse-proxy/gatehouse/modules/processors"
	_ "github.com/gatehouse-proxy/gatehouse/modules/ready"
	_ "github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	_ "github.com/gatehouse-proxy/gatehouse/modules/respcache"
)
