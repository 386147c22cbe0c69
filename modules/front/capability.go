// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// place is a block of the Caddyfile.
type place int

const (
	inGlobal    place = iota // the global options
	inServers                // servers { } in them
	inTimeouts               // timeouts { } in that
	inSite                   // the site block
	inProxy                  // reverse_proxy { } in it
	inTransport              // transport http { } in that
)

// lines are what a capability adds to each block.
type lines map[place][]string

// capability is one thing that front switches on: an entry in the table below is all that a new one takes.
type capability struct {
	// name is what the printed list calls it.
	name string
	// module is the ID of the Caddy module that it needs; empty if Caddy itself has all of it. In a build without the
	// module the lines are left out, and both the list and the Caddyfile say so.
	module string
	// when decides whether the command line calls for it; nil means always.
	when func(options) bool
	// setting says in the printed list what it is set to.
	setting func(options) string
	// lines is its part of the Caddyfile.
	lines func(options) lines
}

// capabilities is the table of what front switches on, in the order of the printed list. docs/front.md gives the reason
// for each figure.
func capabilities() []capability {
	return slices.Concat(receiving(), switched(), forwarding())
}

// receiving is the side of the clients.
func receiving() []capability {
	return []capability{
		{
			name:    "listen",
			setting: func(o options) string { return o.from.scheme + " on " + o.from.address() },
			lines:   listenLines,
		},
		{
			name:    "certificate",
			when:    func(o options) bool { return o.from.scheme == "https" },
			setting: certificateSetting,
			lines:   certificateLines,
		},
		{
			name:    "client timeouts",
			setting: says("15s to send the request's headers, then 5m of silence at any point; no limit on the whole"),
			lines:   add(inTimeouts, "read_header 15s", "read_body_idle 5m", "write_idle 5m", "idle 5m"),
		},
		{
			name:    "request headers",
			setting: says("at most 64KiB"),
			lines:   add(inServers, "max_header_size 64KiB"),
		},
		{
			name:    "client bans",
			module:  "http.handlers.ip_ban",
			setting: says("ip_ban: banned addresses get 403"),
			lines:   add(inSite, "ip_ban"),
		},
		{
			name:    "compression",
			when:    func(o options) bool { return o.compress },
			setting: says("zstd or gzip for clients that ask for it"),
			lines:   add(inSite, "encode zstd gzip"),
		},
		{
			name:    "access log",
			when:    func(o options) bool { return o.accessLog },
			setting: says("JSON lines on stderr"),
			lines:   add(inSite, "log {", "\toutput stderr", "\tformat json", "}"),
		},
	}
}

// forwarding is the side of the application.
func forwarding() []capability {
	several := func(o options) bool { return len(o.to) > 1 }
	return []capability{
		{
			name:   "upstream selection",
			module: "http.reverse_proxy.selection_policies.least_response_time",
			when:   several,
			setting: func(o options) string {
				return fmt.Sprintf("least_response_time over %d; one that fails gets no requests until it is back; 2 retries within 5s", len(o.to))
			},
			lines: add(inProxy, "lb_policy least_response_time", "lb_retries 2", "lb_try_duration 5s",
				"lb_try_interval 100ms"),
		},
		{
			name:    "application restart",
			when:    func(o options) bool { return len(o.to) == 1 },
			setting: says("requests wait up to 5s for it to accept connections"),
			lines: add(inProxy, "lb_try_duration 5s", "lb_try_interval 100ms",
				"# a request that may have arrived is never sent again",
				"lb_retry_match {", "\texpression false", "}"),
		},
		{
			name:    "upstream connections",
			setting: says("2s to connect; idle ones close after 1.5s, before the application would"),
			lines: add(inTransport, "dial_timeout 2s", "keepalive 1500ms", "keepalive_idle_conns_per_host 256",
				"compression off"),
		},
		{
			name:    "upstream TLS",
			when:    func(o options) bool { return o.to[0].scheme == "https" },
			setting: upstreamTLSSetting,
			lines: func(o options) lines {
				if !o.insecure {
					return nil // https:// in the address switches it on
				}
				return lines{inTransport: {"tls_insecure_skip_verify"}}
			},
		},
		{
			name:    "forwarded headers",
			setting: says("X-Forwarded-For, -Proto and -Host; no Via, at which nginx would stop compressing"),
			lines:   add(inProxy, "header_up -Via"),
		},
		{
			name:    "host header",
			when:    func(o options) bool { return o.changeHostHeader },
			setting: says("the upstream's address"),
			lines:   add(inProxy, "header_up Host {upstream_hostport}"),
		},
		{
			name:    "WebSockets",
			setting: says("a reload leaves them open, for up to 24h"),
			lines:   add(inProxy, "stream_close_delay 24h"),
		},
		{
			name:    "stop",
			setting: says("requests have 8s to end"),
			lines:   add(inGlobal, "grace_period 8s"),
		},
		{
			name:    "admin endpoint",
			setting: adminSetting,
			lines:   func(o options) lines { return lines{inGlobal: {"admin " + o.admin, "persist_config off"}} },
		},
	}
}

// says is a setting that is the same for every command line, add the same for lines of one block.
func says(s string) func(options) string { return func(options) string { return s } }

func add(p place, text ...string) func(options) lines {
	return func(options) lines { return lines{p: text} }
}

func listenLines(o options) lines {
	l := lines{}
	if o.from.scheme == "http" {
		l[inServers] = []string{"protocols h1"} // the others need TLS, and Caddy warns that it skips them
	}
	if o.from.bind != "" {
		l[inSite] = []string{"bind " + o.from.bind}
	}
	return l
}

func certificateSetting(o options) string {
	s := "automatic, from a public authority"
	if o.internalCerts {
		s = "from an authority of its own, which clients do not know"
	}
	if o.disableRedirects {
		return s + "; port 80 is left alone"
	}
	return s + "; port 80 redirects"
}

func certificateLines(o options) lines {
	l := lines{}
	if o.internalCerts {
		// Without the option Caddy would put its root certificate into the trust store of this machine.
		l[inGlobal] = append(l[inGlobal], "skip_install_trust")
		l[inSite] = append(l[inSite], "tls internal")
	}
	if o.disableRedirects {
		l[inGlobal] = append(l[inGlobal], "auto_https disable_redirects")
	}
	return l
}

func upstreamTLSSetting(o options) string {
	if o.insecure {
		return "on, but ANY certificate is taken: whoever is between can read and change everything"
	}
	return "on, certificate verified, host header rewritten"
}

func adminSetting(o options) string {
	if o.admin == "off" || strings.HasPrefix(o.admin, "unix/") {
		return o.admin
	}
	host, _, _ := splitHostPort(o.admin) // checked before
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return o.admin
	}
	return o.admin + ", OPEN to whoever reaches it: it asks for no password"
}
