// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package directive

import "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

// Order lists Gatehouse's directives in the order in which a request meets them, among Caddy's own:
//
//	ready ip_ban request_limit ... redir rewrite ... basic_auth forward_auth ... response_cache encode idempotency_key
//	... handle route ... reverse_proxy
//
// Refusals stand before redir and rewrite, so that their matchers see the URI that the client sent, and before
// authentication, so that password guesses are limited too. The cache stands outside encode, so that each variant is
// compressed once; idempotency stands inside, so that a replay is encoded for the client that asks.
//
// The table is one, in a leaf package that every directive's package imports, because Caddy takes orders in the order of
// the calls: spread over packages, they would run in the order of import paths.
var order = []struct {
	name   string
	pos    httpcaddyfile.Positional
	anchor string // one of Caddy's own directives: another plugin's would panic
}{
	{"ready", httpcaddyfile.Before, "redir"},
	{"ip_ban", httpcaddyfile.Before, "redir"},
	{"request_limit", httpcaddyfile.Before, "redir"},
	{"response_cache", httpcaddyfile.Before, "encode"},
	{"idempotency_key", httpcaddyfile.After, "encode"},
}

func init() {
	for _, o := range order {
		httpcaddyfile.RegisterDirectiveOrder(o.name, o.pos, o.anchor)
	}
}
