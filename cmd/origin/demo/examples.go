// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"io"
	"strings"
)

// example is a line to try, and what it shows. Status is the status that curl -i prints first; a test runs each line.
type example struct {
	line   string
	status int
	shows  string
}

// examples can be run in their order, as often as one likes.
func (s settings) examples() []example {
	return []example{
		{
			"curl -i " + s.url() + "/", 200,
			"what arrived at the application; X-Origin says which of the two answered",
		},
		{
			`curl -i -H 'Content-Type: application/json' -d '{"prefixes": ["203.0.113.7"], "for": "1m"}' ` +
				s.adminURL() + "/gatehouse/bans", 200,
			"bans a client for a minute, through the admin endpoint",
		},
		{
			"curl -i -H 'X-Forwarded-For: 203.0.113.7' " + s.url() + "/", 403,
			"that client is refused, while the first line works on",
		},
	}
}

func (s settings) announce(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Gatehouse serves %s before two demo applications. In another terminal, try:\n\n", s.url())
	for _, e := range s.examples() {
		fmt.Fprintf(&b, "%s\n    -> %d: %s\n\n", e.line, e.status, e.shows)
	}
	fmt.Fprintf(&b, "The configuration is %s. Ctrl-C stops everything.\n", s.caddyfile)
	_, err := io.WriteString(w, b.String())
	return err
}
