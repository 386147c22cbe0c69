// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"
)

// control is a world in which a scenario has to fail: a proxy without the directive that the scenario is about, or upstreams
// that are ill. A threshold that holds there, too, proves nothing anywhere else.
type control struct {
	without  string        // a directive that is taken out of the proxy's configuration, with its block
	upstream string        // settings that the upstreams get, as cmd/origin reads them
	after    time.Duration // when they get them, at scale 1; 0: before the first request
	breaks   []string      // metrics whose thresholds have to break
}

// without takes a directive out of a Caddyfile: the line that begins with it, and its block.
func without(text, directive string) (string, error) {
	var kept []string
	depth, found := 0, false
	for line := range strings.Lines(text) {
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if depth == 0 && first != directive {
			kept = append(kept, line)
			continue
		}
		found = true
		switch ends := strings.TrimSpace(line); {
		case strings.HasSuffix(ends, "{"):
			depth++
		case ends == "}":
			depth--
		}
	}
	if !found {
		return "", fmt.Errorf("the configuration has no %s to leave out", directive)
	}
	return strings.Join(kept, ""), nil
}
