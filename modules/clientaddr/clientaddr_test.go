// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package clientaddr_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// server returns a provisioned server of the Caddyfile.
func server(t testing.TB, caddyfile string) *caddyhttp.Server {
	t.Helper()
	config, err := gatehousetest.Adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Admin = &caddy.AdminConfig{Disabled: true}
	ctx, err := caddy.ProvisionContext(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	app, err := ctx.App("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range app.(*caddyhttp.App).Servers {
		return s
	}
	t.Fatal("the Caddyfile has no server")
	return nil
}

const strict = "{\n\tservers {\n\t\ttrusted_proxies static 192.0.2.1\n\t\ttrusted_proxies_strict\n\t}\n}\n:8080 {\n\trespond ok\n}"

// request is one that the server would hand to its handlers.
func request(s *caddyhttp.Server, remote string, forwarded ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = remote
	r.Header["X-Forwarded-For"] = forwarded
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), s)
}

func TestOf(t *testing.T) {
	s := server(t, strict)
	for name, c := range map[string]struct {
		remote, forwarded, want string
		proxy                   bool
	}{
		"peer":                           {"203.0.113.7:1234", "", "203.0.113.7", false},
		"peer over IPv6":                 {"[2001:db8::7]:1234", "", "2001:db8::7", false},
		"zone":                           {"[fe80::7%eth0]:1234", "", "fe80::7", false},
		"IPv4 in IPv6":                   {"[::ffff:203.0.113.7]:1234", "", "203.0.113.7", false},
		"Unix socket":                    {"@", "", "invalid IP", false},
		"no address":                     {"", "", "invalid IP", false},
		"malformed":                      {"nonsense:1", "", "invalid IP", false},
		"header of an untrusted peer":    {"203.0.113.7:1234", "198.51.100.9", "203.0.113.7", false},
		"header of a proxy":              {"192.0.2.1:1234", "198.51.100.9", "198.51.100.9", false},
		"a proxy's own request":          {"192.0.2.1:1234", "", "192.0.2.1", true},
		"chain":                          {"192.0.2.1:1234", "198.51.100.1, 198.51.100.9", "198.51.100.9", false},
		"malformed header":               {"192.0.2.1:1234", "nonsense", "192.0.2.1", true},
		"an untrusted peer claims proxy": {"203.0.113.7:1234", "192.0.2.1", "203.0.113.7", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(s, c.remote, c.forwarded)
			addr, ok := clientaddr.Of(r)
			if addr.String() != c.want || ok != addr.IsValid() {
				t.Errorf("got %s (%v), want %s", addr, ok, c.want)
			}
			if got := clientaddr.IsProxy(r, addr); got != c.proxy {
				t.Errorf("IsProxy: got %v, want %v", got, c.proxy)
			}
		})
	}
	if _, ok := clientaddr.Of(httptest.NewRequest(http.MethodGet, "/", nil)); ok {
		t.Error("a request outside of Caddy has an address")
	}
}

func TestOfDoesNotAllocate(t *testing.T) {
	for _, remote := range []string{"203.0.113.7:1", "[2001:db8::7]:1", "@"} {
		r := request(&caddyhttp.Server{}, remote)
		if n := testing.AllocsPerRun(100, func() { clientaddr.Of(r) }); n != 0 {
			t.Errorf("%s: %g allocations", remote, n)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.7": "203.0.113.7", "203.0.113.7:80": "203.0.113.7", "2001:db8::7": "2001:db8::7",
		"[2001:db8::7]:80": "2001:db8::7", "[::ffff:192.0.2.1]:80": "192.0.2.1", "fe80::1%eth0": "fe80::1",
		"": "invalid IP", "@": "invalid IP", "203.0.113.0/24": "invalid IP", "host:80": "invalid IP",
	} {
		if addr, ok := clientaddr.Parse(text); addr.String() != want || ok != addr.IsValid() {
			t.Errorf("%q: got %s, %v; want %s", text, addr, ok, want)
		}
	}
}

// Whatever a client sends, its address is the peer's where no proxy is trusted, and what the trusted proxy appended where
// one is.
func FuzzOf(f *testing.F) {
	for _, seed := range []string{"", "203.0.113.7", "203.0.113.7, 192.0.2.1", "[::1]:80", "192.0.2.1%eth0", ",,,", "\x00"} {
		f.Add(seed, uint32(7))
	}
	open, proxied := &caddyhttp.Server{ClientIPHeaders: []string{"X-Forwarded-For"}}, server(f, strict)
	f.Fuzz(func(t *testing.T, forged string, n uint32) {
		client := netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})
		if got, ok := clientaddr.Of(request(open, client.String()+":1", forged)); !ok || got != client {
			t.Errorf("no proxy: X-Forwarded-For %q made %s of %s", forged, got, client)
		}
		if got, ok := clientaddr.Of(request(proxied, "192.0.2.1:1", forged, client.String())); !ok || got != client {
			t.Errorf("behind a proxy: X-Forwarded-For %q made %s of %s", forged, got, client)
		}
		if got, ok := clientaddr.Of(request(proxied, "192.0.2.1:1", forged)); !ok || got.Zone() != "" || got.Is4In6() {
			t.Errorf("X-Forwarded-For %q alone gave %s, %v", forged, got, ok)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"203.0.113.7:80", "[fe80::1%eth0]:80", "::ffff:192.0.2.1", "@", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, ok := clientaddr.Parse(text)
		if ok != addr.IsValid() || addr.Zone() != "" || addr.Is4In6() {
			t.Fatalf("%q gave %s, %v", text, addr, ok)
		}
		if again, _ := clientaddr.Parse(addr.String()); ok && again != addr {
			t.Fatalf("%q gave %s, and that gives %s", text, addr, again)
		}
	})
}
