// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "net/http"

// alone are the modules that are measured one at a time, and Caddy's log to a file, which one of them takes the place of.
func alone() []contender {
	one := func(snippet, title, module string) contender {
		c := contender{name: "each_" + snippet, title: "Gatehouse, " + title + " alone", file: "each.caddyfile", env: []string{"EACH=" + snippet}}
		if module != "" {
			c.needs = []string{module}
		}
		return c
	}
	return []contender{
		one("ip_ban", "ip_ban", "http.handlers.ip_ban"),
		one("request_limit", "request_limit", "http.handlers.request_limit"),
		one("response_cache", "response_cache, misses,", "http.handlers.response_cache"),
		one("idempotency_key", "idempotency_key, requests without one,", "http.handlers.idempotency_key"),
		one("least_response_time", "least_response_time", "http.reverse_proxy.selection_policies.least_response_time"),
		one("ship", "output ship", "caddy.logging.writers.ship"),
		one("file", "Caddy's output file", ""),
	}
}

// eachComparisons set every module beside the same program with nothing configured.
func eachComparisons() []comparison {
	all := []comparison{{again, plainNone, plainAgain, beside, 0, miss, http.StatusOK, true}}
	for _, c := range alone() {
		all = append(all, comparison{c.name, "off_shipped", c.name, beside, 0, miss, http.StatusOK, true})
	}
	return all
}
