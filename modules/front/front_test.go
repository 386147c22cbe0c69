// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "github.com/gatehouse-proxy/gatehouse/modules/balance"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	_ "github.com/gatehouse-proxy/gatehouse/modules/idempotency" // so that the fixtures have what a whole build has
	_ "github.com/gatehouse-proxy/gatehouse/modules/ipban"
	_ "github.com/gatehouse-proxy/gatehouse/modules/logship"
	_ "github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	_ "github.com/gatehouse-proxy/gatehouse/modules/respcache"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/memory"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/redis"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/ristretto"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/httpsink"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/loki"
)

// separator stands between a Caddyfile and its JSON in a fixture of gatehousetest.
const separator = "----------\n"

// cases are the command lines whose Caddyfiles are kept in testdata.
func cases() map[string]arguments {
	return map[string]arguments{
		"one":     {from: ":8080", to: []string{"localhost:3000"}, admin: "localhost:2019"},
		"several": {from: ":8080", to: []string{"app1:3000", "app2:3000"}, admin: "localhost:2019"},
		"https":   {from: "example.com", to: []string{"localhost:3000"}, admin: "localhost:2019"},
		"internal": {
			from: "localhost:8443", to: []string{"localhost:3000"}, admin: "off", disableRedirects: true,
		},
		"address": {
			from: "https://127.0.0.1:8443", to: []string{"h2c://localhost:3000"}, admin: "unix//run/gatehouse.sock", internalCerts: true,
		},
		"tls":    {from: "127.0.0.1:8080", to: []string{"https://app.internal"}, admin: "0.0.0.0:2019", insecure: true},
		"socket": {from: ":8080", to: []string{"unix//run/app.sock"}, admin: "localhost:2019"},
		"everything": {
			from: ":8080", to: []string{"app1:3000", "app2:3000"}, admin: "localhost:2019",
			accessLog: true, changeHostHeader: true, compress: true,
		},
		"capabilities": {
			from: ":8080", to: []string{"localhost:3000"}, admin: "localhost:2019",
			cache: "256MiB", limit: "600/1m", ban: true, idempotency: true, redis: "redis://127.0.0.1:6379/0",
			ship: "loki:http://loki.internal:3100",
		},
		"limited": {
			from: ":8080", to: []string{"localhost:3000"}, admin: "localhost:2019", limit: "10/1s", ship: "https://logs.example/ingest",
		},
	}
}

func TestGenerated(t *testing.T) {
	for name, a := range cases() {
		t.Run(name, func(t *testing.T) {
			o, err := parse(a)
			if err != nil {
				t.Fatal(err)
			}
			got := string(build(o, inThisBuild).caddyfile)
			file := filepath.Join("testdata", name+".caddyfiletest")
			text, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			want, adapted, _ := strings.Cut(string(text), separator)
			if flag.Lookup("update").Value.String() == "true" {
				if err := os.WriteFile(file, []byte(got+separator+adapted), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("the Caddyfile differs from %s (go test -update rewrites it):\n%s", file, got)
			}
		})
	}
}

// TestGeneratedRuns adapts and provisions every one of them.
func TestGeneratedRuns(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

func TestEveryFixtureIsGenerated(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, ok := cases()[strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")]; !ok {
			t.Errorf("%s is of no case", file)
		}
	}
}

// TestEveryCapabilityShows holds that what is printed and what is configured are the same table: each entry is listed,
// each one has lines in some case, and no two share a name.
func TestEveryCapabilityShows(t *testing.T) {
	listed, configured := map[string]bool{}, map[string]bool{}
	for _, a := range cases() {
		o, err := parse(a)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range build(o, func(string) bool { return true }).list {
			listed[s.name] = true
		}
		for _, c := range capabilities() {
			if (c.when == nil || c.when(o)) && len(c.lines(o)) > 0 {
				configured[c.name] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, c := range capabilities() {
		if !listed[c.name] || !configured[c.name] || seen[c.name] {
			t.Errorf("%q: listed %v, configured %v, twice %v", c.name, listed[c.name], configured[c.name], seen[c.name])
		}
		seen[c.name] = true
	}
}

// TestDocsShowWhatIsGenerated holds docs/front.md to the Caddyfile that it shows.
func TestDocsShowWhatIsGenerated(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "front.md"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse(cases()["one"])
	if err != nil {
		t.Fatal(err)
	}
	if want := build(o, inThisBuild).caddyfile; !bytes.Contains(page, append([]byte("```caddyfile\n"), want...)) {
		t.Errorf("docs/front.md does not show this:\n%s", want)
	}
}

func TestBuildWithoutModule(t *testing.T) {
	o, err := parse(cases()["one"])
	if err != nil {
		t.Fatal(err)
	}
	for _, has := range []bool{true, false} {
		c := build(o, func(string) bool { return has })
		var list bytes.Buffer
		if err := c.announce(&list, o); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(c.caddyfile, []byte("\tip_ban\n")); got != has {
			t.Errorf("with the module %v: the line stands in the Caddyfile: %v", has, got)
		}
		if got := bytes.Contains(c.caddyfile, []byte("# left out: this build has no module http.handlers.ip_ban")); got == has {
			t.Errorf("with the module %v: the Caddyfile says that it is left out: %v", has, got)
		}
		if got := strings.Contains(list.String(), "NOT in this build"); got == has {
			t.Errorf("with the module %v: the list says that it is left out: %v", has, got)
		}
	}
}

func TestAnnounce(t *testing.T) {
	o, err := parse(cases()["several"])
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := build(o, inThisBuild).announce(&out, o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"front serves http://localhost:8080 from app1:3000 app2:3000\n",
		"  upstream selection    least_response_time over 2; one that fails gets no requests until it is back; 2 retries within 5s\n",
		"  admin endpoint        localhost:2019\n",
		"--print-config\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from:\n%s", want, out.String())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := arguments{from: ":8080", to: []string{"localhost:3000"}, admin: "localhost:2019"}
	for want, change := range map[string]func(*arguments){
		`--from "8080": a port alone`:                      func(a *arguments) { a.from = "8080" },
		`--to is missing`:                                  func(a *arguments) { a.to = nil },
		`--to "a b": ' ' has no place`:                     func(a *arguments) { a.to = []string{"a b"} },
		`--to "": it is empty`:                             func(a *arguments) { a.to = append(a.to, "") },
		`--admin "on": the port is missing`:                func(a *arguments) { a.admin = "on" },
		`--to localhost:3000 is given twice`:               func(a *arguments) { a.to = append(a.to, "http://LOCALHOST:3000") },
		`differ in scheme`:                                 func(a *arguments) { a.to = append(a.to, "https://b") },
		`--to localhost:8080 is where front itself would`:  func(a *arguments) { a.to = []string{"localhost:8080"} },
		`--admin localhost:8080 is where front itself`:     func(a *arguments) { a.admin = "localhost:8080" },
		`--admin :2019 is where front itself`:              func(a *arguments) { a.from, a.admin = "192.0.2.1:2019", ":2019" },
		`--to 127.0.0.1:2019 is the admin endpoint`:        func(a *arguments) { a.to = append(a.to, "127.0.0.1:2019") },
		`add --internal-certs`:                             func(a *arguments) { a.from = "https://127.0.0.1:8443" },
		`--internal-certs needs HTTPS`:                     func(a *arguments) { a.internalCerts = true },
		`--disable-redirects needs HTTPS`:                  func(a *arguments) { a.disableRedirects = true },
		`--insecure needs`:                                 func(a *arguments) { a.insecure = true },
		`--cache "big": it is no size`:                     func(a *arguments) { a.cache = "big" },
		`--cache "1KiB": it is not from 1MiB`:              func(a *arguments) { a.cache = "1KiB" },
		`--limit "100": there is no slash`:                 func(a *arguments) { a.limit = "100" },
		`--limit "0/1m": the requests are no number`:       func(a *arguments) { a.limit = "0/1m" },
		`--limit "1/1 m": the time is no duration`:         func(a *arguments) { a.limit = "1/1 m" },
		`--limit "1/1ms": the time is not from 100ms`:      func(a *arguments) { a.limit = "1/1ms" },
		`--ban bans who goes on against a limit`:           func(a *arguments) { a.ban = true },
		`--redis "localhost": it does not begin with`:      func(a *arguments) { a.redis = "localhost" },
		`--redis "redis://a\n": '\n' has no place in it`:   func(a *arguments) { a.redis = "redis://a\n" },
		`--ship "loki:": the URL is missing`:               func(a *arguments) { a.ship = "loki:" },
		`--ship "http://{env.A}": '{' has no place in it`:  func(a *arguments) { a.ship = "http://{env.A}" },
		`--ship redis needs a Redis`:                       func(a *arguments) { a.ship = "redis" },
		`--ship and --access-log are two places`:           func(a *arguments) { a.ship, a.accessLog = "http://a", true },
		`--change-host-header needs a host`:                func(a *arguments) { a.changeHostHeader, a.to = true, []string{"unix//a"} },
		`--change-host-header is not needed with https://`: func(a *arguments) { a.changeHostHeader, a.to = true, []string{"https://a"} },
	} {
		a := good
		a.to = append([]string(nil), good.to...)
		change(&a)
		_, err := parse(a)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v, want one with %q", err, want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %v", err)
		}
	}
}

func TestCheckPorts(t *testing.T) {
	o, err := parse(arguments{from: "example.com", to: []string{"localhost:3000"}, admin: "localhost:2019"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		address string
		err     error
		want    string
	}{
		{":443", syscall.EADDRINUSE, "--from :443: the port is taken"},
		{":443", syscall.EACCES, "CAP_NET_BIND_SERVICE"},
		{":443", syscall.EADDRNOTAVAIL, "does not have the address"},
		{":80", syscall.EADDRINUSE, "--disable-redirects"},
		{"localhost:2019", syscall.EADDRINUSE, "--admin localhost:2019: the port is taken; another Caddy or Gatehouse"},
		{"localhost:2019", errors.New("no such host"), "--admin localhost:2019: cannot listen: no such host"},
	} {
		err := o.checkPorts(func(_, address string) error {
			if address == c.address {
				return &os.SyscallError{Syscall: "bind", Err: c.err}
			}
			return nil
		})
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "bind: ", ""), c.want) {
			t.Errorf("%s and %v: got %v, want %q", c.address, c.err, err, c.want)
		}
	}
	if err := o.checkPorts(func(string, string) error { return nil }); err != nil {
		t.Errorf("free ports: %v", err)
	}
}
