// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// endpoint is what a URL says.
type endpoint struct {
	address, username, password string
	db                          int
	tls                         bool
}

// errURL says what is expected and never what was found: where a password's special characters are not encoded, any part of
// the URL may be a part of the password.
var errURL = errors.New("expected redis://[user:password@]host[:port][/db], rediss://... or unix:///path, " +
	"with special characters of the password percent-encoded")

// parseURL reads a URL without placeholders.
func parseURL(raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return endpoint{}, errURL
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return endpoint{}, errors.New("parameters are not supported; set options in a block")
	}
	e := endpoint{username: u.User.Username()}
	e.password, _ = u.User.Password()
	switch u.Scheme {
	case "unix":
		if u.Host != "" || len(u.Path) < 2 {
			return endpoint{}, errURL
		}
		e.address = u.Path
		return e, nil
	case "redis", "rediss":
		e.tls = u.Scheme == "rediss"
	default:
		return endpoint{}, errURL
	}
	if e.address, err = withPort(u.Host, "6379"); err != nil {
		return endpoint{}, errURL
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if e.db, err = strconv.Atoi(db); err != nil || e.db < 0 || e.db > maxDB {
			return endpoint{}, fmt.Errorf("expected a database number from 0 to %d after the host", maxDB)
		}
	}
	return e, nil
}

// withPort completes `host[:port]`.
func withPort(address, port string) (string, error) {
	u := url.URL{Host: address}
	host := u.Hostname()
	unbracketed := strings.Contains(host, ":") && !strings.HasPrefix(address, "[")
	if host == "" || unbracketed || strings.ContainsAny(host, " /@") {
		return "", errors.New("expected host[:port], with an IPv6 address in brackets")
	}
	if p := u.Port(); p != "" {
		port = p
	} else if strings.HasSuffix(address, ":") {
		return "", errors.New("expected host[:port]")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("expected a port from 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// expandURL expands the placeholders of a URL. Values before the last `@` are percent-encoded, so that a password from the
// environment is taken literally; a URL that is a placeholder as a whole is not touched.
func expandURL(repl *caddy.Replacer, raw string) (string, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	at := strings.LastIndex(rest, "@")
	if !ok || at < 0 || strings.Contains(scheme, "{") {
		return repl.ReplaceOrErr(raw, true, true)
	}
	user, err := repl.ReplaceFunc(rest[:at], func(name string, value any) (any, error) {
		text := caddy.ToString(value)
		if text == "" {
			return nil, fmt.Errorf("placeholder {%s} is unknown or empty", name)
		}
		return strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), nil
	})
	if err != nil {
		return "", err
	}
	host, err := repl.ReplaceOrErr(rest[at:], true, true)
	return scheme + "://" + user + host, err
}
