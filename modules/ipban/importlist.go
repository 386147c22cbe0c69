// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// maxListErrors is how many faulty lines of a list are named before reading stops.
const maxListErrors = 10

// readList reads a list of addresses and CIDRs, one a line; what follows a # or a ; is a comment, and empty lines mean nothing.
// An error names each faulty line by its number; no prefix is returned then.
func readList(r io.Reader) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var faults []error
	lines, n := bufio.NewScanner(r), 0
	for lines.Scan() && len(faults) < maxListErrors {
		n++
		text := lines.Text()
		if comment := strings.IndexAny(text, "#;"); comment >= 0 {
			text = text[:comment]
		}
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff") // which some editors put before the first line
		}
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		prefix, err := directive.Prefix(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	if err := lines.Err(); err != nil { // a line of more than 64 KiB is one
		faults = append(faults, fmt.Errorf("line %d: %w", n+1, err))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return prefixes, nil
}

// shown is a prefix as people write it: one address without its length.
func shown(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
