// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"strings"
	"testing"
)

func TestParseUpstream(t *testing.T) {
	for in, want := range map[string]string{
		"localhost:3000":          "localhost:3000",
		":3000":                   "localhost:3000",
		"app":                     "app:80",
		"App.Internal:0080":       "app.internal:80",
		"my_app_1:3000":           "my_app_1:3000",
		"192.0.2.7:1":             "192.0.2.7:1",
		"[::1]":                   "[::1]:80",
		"[2001:db8::1]:65535":     "[2001:db8::1]:65535",
		"http://app:3000":         "app:3000",
		"HTTP://app":              "app:80",
		"https://app.example":     "https://app.example:443",
		"https://[::1]:8443":      "https://[::1]:8443",
		"h2c://app:50051":         "h2c://app:50051",
		"unix//run/my-app_1.s":    "unix//run/my-app_1.s",
		"import:80":               "import:80", // a strange name, and no directive where it stands
		"xn--bcher-kva.example":   "xn--bcher-kva.example:80",
		strings.Repeat("a.", 120): "",
	} {
		got, err := parseUpstream(in)
		switch {
		case want == "":
			if err == nil {
				t.Errorf("%q is accepted as %s", in, got)
			}
		case err != nil:
			t.Errorf("%q: %v", in, err)
		case got.String() != want:
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

func TestParseUpstreamRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "empty",
		":":                        "port",
		"3000":                     "as in :3000",
		"localhost:":               "port",
		"localhost:0":              "1 to 65535",
		"localhost:65536":          "1 to 65535",
		"localhost:-1":             "1 to 65535",
		"localhost:+80":            "1 to 65535",
		"localhost:http":           "1 to 65535",
		"localhost:3000-3002":      "1 to 65535",
		"localhost:3000/":          "'/'",
		"http://localhost:3000/a":  "'/'",
		"http://localhost:3000?a":  "'?'",
		"http://localhost:3000#a":  "'#'",
		"http://user:pw@localhost": "'@'",
		"http://":                  "empty",
		"ws://localhost:3000":      "http:// or https://",
		"ftp://localhost":          "scheme",
		"tcp/localhost:3000":       "'/'",
		"::1":                      "brackets",
		"[::1":                     "]",
		"[::1]3000":                ":port",
		"[127.0.0.1]:3000":         "IPv6",
		"[fe80::1%eth0]:3000":      "IPv6",
		"300.1.1.1:80":             "neither",
		"127.1:80":                 "neither",
		"a..b:80":                  "empty",
		"-a:80":                    "hyphen",
		"bücher.example:80":        "xn--",
		"app:443":                  "https://",
		"http://app:443":           "https://",
		"h2c://app:443":            "https://",
		"https://app:80":           "plain HTTP",
		"unix/run/app.sock":        "unix//run/app.sock",
		"unix//run/../app.sock":    "clean",
		"unix//":                   "absolute",
		"unix//run/a b.sock":       "' '",
		"unix//run/{env.HOME}":     "'{'",
		"a:80 b:80":                "brackets",
		" a:80":                    "' '",
		"a:80\n":                   "1 to 65535",
		"a\n}\n:81 {\nrespond hi":  "'\\n'",
		"a\"b:80":                  "'\"'",
		"a`b:80":                   "'`'",
		"{env.HOME}:80":            "'{'",
		"{$HOME}:80":               "'{'",
		"a:{env.PORT}":             "1 to 65535",
		"import /etc/passwd":       "'/'",
		"*:80":                     "'*'",
		"a,b:80":                   "','",
		"@a:80":                    "'@'",
		"<<EOF:80":                 "'<'",
	} {
		got, err := parseUpstream(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v and the error %v, want one with %s", in, got, err, want)
		}
	}
}

func TestParseListener(t *testing.T) {
	for _, c := range []struct{ in, site, address, url string }{
		{":8080", ":8080", ":8080", "http://localhost:8080"},
		{":80", ":80", ":80", "http://localhost"},
		{"127.0.0.1:8080", ":8080", "127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"127.0.0.1", ":80", "127.0.0.1:80", "http://127.0.0.1"},
		{"0.0.0.0:8080", ":8080", "0.0.0.0:8080", "http://localhost:8080"},
		{"[::]:8080", ":8080", "[::]:8080", "http://localhost:8080"},
		{"[::1]:8080", ":8080", "[::1]:8080", "http://[::1]:8080"},
		{"[::1]", ":80", "[::1]:80", "http://[::1]"},
		{"http://:8080", ":8080", ":8080", "http://localhost:8080"},
		{"Example.com", "https://example.com", ":443", "https://example.com"},
		{"example.com:8443", "https://example.com:8443", ":8443", "https://example.com:8443"},
		{"example.com:80", "http://example.com", ":80", "http://example.com"},
		{"http://example.com", "http://example.com", ":80", "http://example.com"},
		{"http://example.com:8080", "http://example.com:8080", ":8080", "http://example.com:8080"},
		{"https://192.0.2.1:8443", "https://192.0.2.1:8443", "192.0.2.1:8443", "https://192.0.2.1:8443"},
		{"import", "https://import", ":443", "https://import"},
	} {
		l, err := parseListener(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if l.site() != c.site || l.address() != c.address || l.String() != c.url {
			t.Errorf("%q is site %s, address %s, URL %s; want %s, %s, %s", c.in, l.site(), l.address(), l, c.site, c.address, c.url)
		}
	}
}

func TestParseListenerRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "empty",
		"8080":                   "as in :8080",
		":443":                   "example.com",
		"http://example.com:443": "example.com",
		"https://example.com:80": "plain HTTP",
		"https://:8443":          "host name",
		"h2c://example.com":      "scheme",
		"unix//run/front.sock":   "'/'",
		"*.example.com":          "'*'",
		"my_host":                "underscore",
		"example.com, a.com":     "','",
		"(snippet)":              "'('",
		"{\n}":                   "'{'",
		"example.com/path":       "'/'",
	} {
		got, err := parseListener(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v and the error %v, want one with %s", in, got, err, want)
		}
	}
}

func TestParseAdmin(t *testing.T) {
	for in, want := range map[string]string{
		"off": "off", "localhost:2019": "localhost:2019", ":2019": ":2019", "[::1]:02019": "[::1]:2019",
		"unix//run/admin.sock": "unix//run/admin.sock", "localhost": "", "": "", "on": "", "tcp/localhost:1": "",
		"http://localhost:2019": "", "{env.A}:2019": "", "unix//run/a|0222": "",
	} {
		got, err := parseAdmin(in)
		if (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q gives %q and the error %v, want %q", in, got, err, want)
		}
	}
}

func TestListenerReaches(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{":8080", "localhost:8080", true},
		{":8080", ":8080", true},
		{":8080", "127.0.0.1:8080", true},
		{":8080", "[::1]:8080", true},
		{":8080", "0.0.0.0:8080", true},
		{":8080", "[::ffff:0.0.0.0]:8080", true},
		{":8080", "https://localhost:8080", true},
		{":8080", "app:8080", false}, // another machine, as far as anybody can tell
		{":8080", "192.0.2.1:8080", false},
		{":8080", "localhost:3000", false},
		{":8080", "unix//run/8080", false},
		{"0.0.0.0:8080", "127.0.0.1:8080", true},
		{"127.0.0.1:8080", "localhost:8080", true},
		{"127.0.0.1:8080", "127.0.0.2:8080", false},
		{"192.0.2.1:8080", "127.0.0.1:8080", false},
		{"192.0.2.1:8080", "192.0.2.1:8080", true},
		{"example.com", "https://example.com", true},
		{"example.com", "https://www.example.com", false},
	} {
		from, err := parseListener(c.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := parseUpstream(c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := from.reaches(to); got != c.want {
			t.Errorf("from %s to %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestMeets(t *testing.T) {
	for _, c := range []struct {
		from, host, port string
		want             bool
	}{
		{":2019", "localhost", "2019", true},
		{":2019", "192.0.2.1", "2019", true},
		{":2019", "localhost", "2020", false},
		{"0.0.0.0:2019", "127.0.0.1", "2019", true},
		{"192.0.2.1:2019", "", "2019", true},
		{"192.0.2.1:2019", "::", "2019", true},
		{"192.0.2.1:2019", "localhost", "2019", false},
		{"192.0.2.1:2019", "192.0.2.1", "2019", true},
		{"127.0.0.1:2019", "localhost", "2019", true},
		{"127.0.0.1:2019", "127.0.0.2", "2019", false},
		{"https://example.com:2019", "localhost", "2019", true},
	} {
		from, err := parseListener(c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := from.meets(c.host, c.port); got != c.want {
			t.Errorf("%s and %s:%s: %v, want %v", c.from, c.host, c.port, got, c.want)
		}
	}
}
