// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// cutScheme splits "scheme://rest". Without "://" the scheme is empty.
func cutScheme(s string, allowed ...string) (scheme, rest string, err error) {
	before, after, found := strings.Cut(s, "://")
	if !found {
		return "", s, nil
	}
	for _, a := range allowed {
		if strings.EqualFold(a, before) {
			return a, after, nil
		}
	}
	if before == "ws" || before == "wss" {
		return "", "", errors.New("WebSockets need no scheme of their own: write http:// or https://")
	}
	return "", "", fmt.Errorf("the scheme is none of %s", strings.Join(allowed, ", "))
}

// splitHostPort takes "host", "host:port", ":port", "[IPv6]" and "[IPv6]:port" apart and checks both parts. The port comes
// back without leading zeros; either part may be empty.
func splitHostPort(s string) (host, port string, err error) {
	if i := strings.IndexAny(s, "/?#@\\"); i >= 0 {
		return "", "", fmt.Errorf("%q has no place in it: only scheme, host and port do", s[i])
	}
	rest := ""
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if host, rest, ok = strings.Cut(inner, "]"); !ok {
			return "", "", errors.New("the closing ] is missing")
		}
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", "", errors.New("what stands in brackets is no IPv6 address")
		}
		if rest != "" && rest[0] != ':' {
			return "", "", errors.New("only :port may follow the ]")
		}
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		host, rest = s[:i], s[i:]
		if err := checkName(host); err != nil {
			return "", "", err
		}
	}
	if rest == "" {
		return host, "", nil
	}
	port, err = parsePort(rest[1:])
	return host, port, err
}

func parsePort(s string) (string, error) {
	if strings.Contains(s, ":") {
		return "", errors.New("an IPv6 address stands in brackets, as in [::1]:3000")
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("the port is no number from 1 to 65535")
	}
	return strconv.FormatUint(n, 10), nil
}

// checkName takes an IPv4 address or a host name: RFC 1123 section 2.1, and underscores, which container networks have
// in names. Empty passes.
func checkName(s string) error {
	if s == "" {
		return nil
	}
	if ip, err := netip.ParseAddr(s); err == nil && ip.Is4() {
		return nil
	}
	if len(s) > 253 {
		return errors.New("the host name is longer than 253 characters")
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		if len(labels) == 1 {
			return fmt.Errorf("a port alone is written with a colon, as in :%s", last)
		}
		return errors.New("it is neither a host name nor an IPv4 address")
	}
	return nil
}

func checkLabel(s string) error {
	if s == "" || len(s) > 63 {
		return errors.New("a part of the host name is empty or longer than 63 characters")
	}
	if s[0] == '-' || s[len(s)-1] == '-' {
		return errors.New("a part of the host name begins or ends with a hyphen")
	}
	for i := range len(s) {
		if c := s[i]; c >= 0x80 {
			return errors.New("the host name is not ASCII: write it in its xn-- form")
		} else if !alphanumeric(c) && c != '-' && c != '_' {
			return fmt.Errorf("%q has no place in a host name", c)
		}
	}
	return nil
}

func checkSocket(s string) error {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && !strings.ContainsRune("/._-", rune(c)) {
			return fmt.Errorf("%q has no place in a socket's path here", c)
		}
	}
	if !path.IsAbs(s) || path.Clean(s) != s || s == "/" {
		return errors.New("after unix/ stands an absolute, clean path, as in unix//run/app.sock")
	}
	return nil
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
