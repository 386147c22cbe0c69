// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/certmagic"
)

// arguments is the command line as it was given.
type arguments struct {
	from             string
	to               []string
	admin            string
	accessLog        bool
	changeHostHeader bool
	compress         bool
	disableRedirects bool
	insecure         bool
	internalCerts    bool

	cache, limit, redis, ship string
	ban, idempotency          bool
}

// options is a command line that was checked: every combination of values in it makes a Caddyfile that loads.
type options struct {
	from             listener
	to               []upstream
	admin            string // "off" or an address
	accessLog        bool
	changeHostHeader bool
	compress         bool
	disableRedirects bool
	insecure         bool
	internalCerts    bool // also where no public authority would give one, as for localhost
	wanted
}

// parse checks the command line. An error is one line that names the option and says what was expected.
func parse(a arguments) (options, error) {
	o := options{
		accessLog: a.accessLog, changeHostHeader: a.changeHostHeader, compress: a.compress,
		disableRedirects: a.disableRedirects, insecure: a.insecure, internalCerts: a.internalCerts,
	}
	var err error
	if o.from, err = parseListener(a.from); err != nil {
		return o, fmt.Errorf("--from %s: %w; expected an address to listen on such as :8080, 127.0.0.1:8080 or example.com",
			shown(a.from), err)
	}
	if len(a.to) == 0 {
		return o, errors.New("--to is missing; expected the application's address, such as --to localhost:3000")
	}
	for _, value := range a.to {
		u, err := parseUpstream(value)
		if err != nil {
			return o, fmt.Errorf("--to %s: %w; expected the application's address such as localhost:3000, https://app.internal"+
				" or unix//run/app.sock", shown(value), err)
		}
		o.to = append(o.to, u)
	}
	if o.admin, err = parseAdmin(a.admin); err != nil {
		return o, fmt.Errorf("--admin %s: %w; expected HOST:PORT, unix//PATH or off", shown(a.admin), err)
	}
	if o.from.scheme == "https" && o.from.name != "" && !certmagic.SubjectQualifiesForPublicCert(o.from.name) {
		o.internalCerts = true
	}
	if o.wanted, err = parseWanted(a); err != nil {
		return o, err
	}
	for _, check := range []func() error{o.checkUpstreams, o.checkFlags, o.checkAdmin} {
		if err := check(); err != nil {
			return o, err
		}
	}
	return o, nil
}

// shown quotes what a user gave, cut to a length that keeps an error on one line.
func shown(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strconv.Quote(s)
}

func (o options) checkUpstreams() error {
	seen := map[upstream]bool{}
	for _, u := range o.to {
		switch {
		case seen[u]:
			return fmt.Errorf("--to %s is given twice", u)
		case u.scheme != o.to[0].scheme:
			return fmt.Errorf("--to %s and --to %s differ in scheme; all addresses of one application share it", o.to[0], u)
		case o.from.reaches(u):
			return fmt.Errorf("--to %s is where front itself would listen; choose another port with --from", u)
		}
		seen[u] = true
	}
	return nil
}

// checkFlags refuses options that would do nothing: whoever gives one believes that it does something.
func (o options) checkFlags() error {
	https := o.from.scheme == "https"
	for _, wrong := range []struct {
		is   bool
		says string
	}{
		{https && o.from.name == "" && !o.internalCerts, "--from " + o.from.site() + ": no public certificate is to be had for an IP" +
			" address; add --internal-certs"},
		{o.internalCerts && !https, "--internal-certs needs HTTPS: give --from a host name or https://"},
		{o.disableRedirects && !https, "--disable-redirects needs HTTPS: give --from a host name or https://"},
		{o.insecure && o.to[0].scheme != "https", "--insecure needs an application behind HTTPS: --to https://..."},
		{
			o.changeHostHeader && o.to[0].scheme == "https",
			"--change-host-header is not needed with https://, where the header is rewritten in any case",
		},
		{o.changeHostHeader && o.hasSocket(), "--change-host-header needs a host: a Unix socket has none"},
	} {
		if wrong.is {
			return errors.New(wrong.says)
		}
	}
	return nil
}

// checkAdmin keeps the admin endpoint, which asks for no password, apart from what clients reach. Caddy would let both
// listen on one port (SO_REUSEPORT), and each would get some of the other's requests.
func (o options) checkAdmin() error {
	if o.admin == "off" || strings.HasPrefix(o.admin, "unix/") {
		return nil
	}
	host, port, _ := splitHostPort(o.admin) // checked before
	if o.from.meets(host, port) {
		return fmt.Errorf("--admin %s is where front itself would listen; choose another port with --from or --admin", o.admin)
	}
	for _, u := range o.to {
		if (listener{bind: host, port: port}).reaches(u) {
			return fmt.Errorf("--to %s is the admin endpoint, which front would open to everybody; "+
				"choose another port for it with --admin", u)
		}
	}
	return nil
}

func (o options) hasSocket() bool {
	for _, u := range o.to {
		if u.socket != "" {
			return true
		}
	}
	return false
}
