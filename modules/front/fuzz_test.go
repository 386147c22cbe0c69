// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// FuzzCommandLine holds that no address gets more into the Caddyfile than its own token.
func FuzzCommandLine(f *testing.F) {
	for _, a := range cases() {
		f.Add(a.from, a.to[0], a.admin)
	}
	f.Add("import", "{env.HOME}:80", "a\n")
	f.Add("[::1]:1", "a\n}\nrespond hi", "\"")
	f.Add("{$A}", "unix//`", "<<A")
	harmless := regexp.MustCompile(`^[0-9A-Za-z._:/\[\]-]+$`)
	f.Fuzz(func(t *testing.T, from, to, admin string) {
		o, err := parse(arguments{from: from, to: []string{to}, admin: admin})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("the error has more than one line: %q", err)
			}
			return
		}
		for _, token := range []string{o.from.site(), o.from.address(), o.to[0].String(), o.admin} {
			if !harmless.MatchString(token) {
				t.Fatalf("the token %q reaches the Caddyfile", token)
			}
		}
		c := build(o, func(string) bool { return false })
		checkShape(t, c.caddyfile, o)
		adapted, err := c.adapt()
		if err != nil {
			t.Fatalf("accepted, but it does not adapt: %v\n%s", err, c.caddyfile)
		}
		checkDial(t, adapted, o.to[0])
	})
}

// checkShape tokenizes the Caddyfile and looks for the site and the upstream where they belong.
func checkShape(t *testing.T, text []byte, o options) {
	tokens, err := caddyfile.Tokenize(text, "front")
	if err != nil {
		t.Fatal(err)
	}
	sites, proxies := 0, 0
	for i, token := range tokens[:len(tokens)-1] {
		if next := tokens[i+1].Text; token.Text == o.from.site() && next == "{" {
			sites++
		} else if token.Text == "reverse_proxy" && next == o.to[0].String() {
			proxies++
		}
	}
	if sites != 1 || proxies != 1 {
		t.Fatalf("%d sites and %d proxies in\n%s", sites, proxies, text)
	}
}

func checkDial(t *testing.T, adapted []byte, u upstream) {
	var cfg struct {
		Apps struct {
			HTTP struct {
				Servers map[string]json.RawMessage `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	dial := u.String()[strings.LastIndex(u.String(), "://")+1:]
	dial = strings.TrimPrefix(dial, "//")
	if len(cfg.Apps.HTTP.Servers) != 1 || bytes.Count(adapted, []byte(`"dial":`)) != 1 ||
		!bytes.Contains(adapted, []byte(`"dial":"`+dial+`"`)) {
		t.Fatalf("not one server that dials %s: %s", dial, adapted)
	}
}

// FuzzWanted is the same for the options that switch capabilities on, whose values are longer.
func FuzzWanted(f *testing.F) {
	f.Add("256MiB", "100/1m", "redis://user:pw@[::1]:6379/0", "loki:https://logs.example/a?b=c")
	f.Add("1TiB", "1/366d", "rediss://a", "redis")
	f.Add("1MiB\n", "1/1m{", "redis://{$A}", "http://a/#\"")
	f.Fuzz(func(t *testing.T, cache, limit, redis, ship string) {
		o, err := parse(arguments{
			from: ":8080", to: []string{"a:1"}, admin: "off", cache: cache, limit: limit, redis: redis, ship: ship, ban: limit != "",
		})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("the error has more than one line: %q", err)
			}
			return
		}
		for _, line := range []string{o.cache, o.limit, o.redis, o.ship} {
			if strings.ContainsAny(line, "\"`{}#<\\\t\n\r") || strings.Count(line, " ") > 1 {
				t.Fatalf("%q reaches the Caddyfile", line)
			}
		}
	})
}
