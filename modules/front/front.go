// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package front is the command that stands in front of an existing application with one line:
//
//	gatehouse front --to localhost:3000
//
// It writes a Caddyfile with the settings that a careful operator would choose, adapts it by Caddy's adapter and runs the
// result. The Caddyfile is the whole configuration, so what --print-config shows is what runs. Each setting is an entry
// of one table, capabilities.
package front
