// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// policyField is the response field by which an application overrides what is kept. It never reaches a client.
const policyField = "Idempotency-Policy"

// maxPolicyTTL bounds what an application may ask for.
const maxPolicyTTL = 366 * 24 * time.Hour

// policy is what the application said about its response.
type policy struct {
	// noStore keeps that the operation was carried out and not the answer.
	noStore bool
	// release says that nothing was carried out: the key is free again.
	release bool
	// ttl replaces the configured one; 0 does not.
	ttl time.Duration
	// bad is what could not be understood; it changes nothing, and is logged.
	bad string
}

// takePolicy reads the field and removes it. Its value is a list of no-store, release and ttl=<duration>.
func takePolicy(header http.Header) (p policy) {
	values := header[policyField]
	delete(header, policyField)
	for _, line := range values {
		for word := range strings.SplitSeq(line, ",") {
			p.add(strings.TrimSpace(word))
		}
	}
	return p
}

func (p *policy) add(word string) {
	name, value, _ := strings.Cut(word, "=")
	switch {
	case word == "":
	case word == "no-store":
		p.noStore = true
	case word == "release":
		p.release = true
	case name == "ttl":
		ttl, err := caddy.ParseDuration(value)
		if err != nil || ttl < time.Second || ttl > maxPolicyTTL {
			p.bad = word
			return
		}
		p.ttl = ttl.Truncate(time.Millisecond)
	default:
		p.bad = word
	}
}
