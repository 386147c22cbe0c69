// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package directive

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
)

// Word accepts any string that is not empty.
func Word(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("expected a value, found an empty string")
	}
	return s, nil
}

// OneOf accepts the given words only.
func OneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("expected one of %s, found %q", strings.Join(words, ", "), s)
		}
		return s, nil
	}
}

// Duration accepts a duration of zero or more with its unit, such as 250ms, 1h30m or 7d.
func Duration(s string) (caddy.Duration, error) {
	v, err := caddy.ParseDuration(s)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("expected a duration such as 250ms, 10s, 1h or 7d, found %q", s)
	}
	return caddy.Duration(v), nil
}

// PositiveDuration accepts a duration above zero.
func PositiveDuration(s string) (caddy.Duration, error) {
	v, err := Duration(s)
	if err == nil && v == 0 {
		err = fmt.Errorf("expected a duration above zero, found %q", s)
	}
	return v, err
}

// Integer accepts a whole number from low to high.
func Integer(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		v, err := strconv.Atoi(s)
		if err != nil || v < low || v > high {
			if high == math.MaxInt {
				return 0, fmt.Errorf("expected a whole number of at least %d, found %q", low, s)
			}
			return 0, fmt.Errorf("expected a whole number from %d to %d, found %q", low, high, s)
		}
		return v, nil
	}
}

// Number accepts a finite decimal number from low to high.
func Number(low, high float64) func(string) (float64, error) {
	return func(s string) (float64, error) {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || !(v >= low && v <= high) { // the negation catches NaN too
			if math.IsInf(high, 1) && !math.IsInf(v, 1) {
				return 0, fmt.Errorf("expected a number of at least %g, found %q", low, s)
			}
			return 0, fmt.Errorf("expected a number from %g to %g, found %q", low, high, s)
		}
		if math.IsInf(v, 0) {
			return 0, fmt.Errorf("expected a finite number, found %q", s)
		}
		return v, nil
	}
}

// Size accepts a number of bytes above zero with its unit, such as 64KiB, 1.5GiB or 4GB. A number without a unit is rejected,
// also one with a decimal point: it is a forgotten unit more often than a number of bytes.
func Size(s string) (int64, error) {
	v, err := humanize.ParseBytes(s)
	unit := strings.TrimLeft(s, "0123456789.")
	if err != nil || v == 0 || v > math.MaxInt64 || unit == "" || unit == s || strings.ContainsAny(s, " \t,") {
		return 0, fmt.Errorf("expected a size with its unit, such as 64KiB or 256MiB, found %q", s)
	}
	return int64(v), nil
}

// Prefix accepts an IPv4 or IPv6 address or CIDR and returns it in canonical form: host bits cleared, IPv4 addresses
// written in IPv6 turned back into IPv4, so that one network has one name. Zones are rejected.
func Prefix(s string) (netip.Prefix, error) {
	bad := fmt.Errorf("expected an IP address or CIDR such as 203.0.113.7 or 2001:db8::/32, found %q", s)
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, bad
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, bad
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 { // wider than the mapped range: it would cover addresses that are not IPv4
			return netip.Prefix{}, bad
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
