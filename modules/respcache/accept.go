// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"strconv"
	"strings"
)

// codings is a set of content codings that a client accepts, of those that this cache tells apart.
type codings uint8

// The codings that a variant is kept of, beside identity.
const (
	gzip codings = 1 << iota
	brotli
	zstd
)

// acceptedCodings reads an Accept-Encoding field, RFC 9110 section 12.5.3: a coding counts if its weight is not zero. x-gzip
// is gzip (section 8.4.1.3). Raw fields differ from browser to browser; sets of three codings do not.
func acceptedCodings(lines []string) (set codings) {
	var refused codings
	all := false
	for _, line := range lines {
		for line != "" {
			var member string
			member, line, _ = strings.Cut(line, ",")
			name, parameters, _ := strings.Cut(member, ";")
			coding := codingOf(trimOWS(name))
			switch {
			case coding == 0 && trimOWS(name) == "*":
				all = !isZeroWeight(parameters)
			case isZeroWeight(parameters):
				refused |= coding
			default:
				set |= coding
			}
		}
	}
	if all {
		set |= gzip | brotli | zstd
	}
	return set &^ refused
}

func codingOf(name string) codings {
	switch {
	case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
		return gzip
	case strings.EqualFold(name, "br"):
		return brotli
	case strings.EqualFold(name, "zstd"):
		return zstd
	}
	return 0
}

// isZeroWeight reports whether parameters say q=0, RFC 9110 section 12.4.2.
func isZeroWeight(parameters string) bool {
	name, value, ok := strings.Cut(trimOWS(parameters), "=")
	if !ok || !strings.EqualFold(trimOWS(name), "q") {
		return false
	}
	q, err := strconv.ParseFloat(trimOWS(value), 64)
	return err == nil && q == 0
}

// normalized is the field that asks the upstream for the set, the best coding first, so that what is stored under a set depends on
// it alone; empty for none.
func (c codings) normalized() string {
	return [...]string{
		"", "gzip", "br", "br, gzip", "zstd", "zstd, gzip", "zstd, br", "zstd, br, gzip",
	}[c&(gzip|brotli|zstd)]
}

// contentCoding is the coding of a stored body. Other codings than ours, and several at once, are unknown: nobody but who
// asked in the same words may have them.
func contentCoding(lines []string) (coding codings, known bool) {
	value := strings.Join(lines, ",")
	if value == "" || strings.EqualFold(value, "identity") {
		return 0, true
	}
	coding = codingOf(trimOWS(value))
	return coding, coding != 0
}
