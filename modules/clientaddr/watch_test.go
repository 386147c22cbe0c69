// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package clientaddr_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// counter is a handler that counts requests by client address, as limits do.
type counter struct {
	watch *clientaddr.Watch
	lease lease.Lease
}

var (
	countsMu sync.Mutex
	counts   map[netip.Addr]int
)

func init() {
	caddy.RegisterModule(counter{})
	httpcaddyfile.RegisterHandlerDirective("count", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(counter), nil
	})
	httpcaddyfile.RegisterDirectiveOrder("count", httpcaddyfile.Before, "respond")
}

func (counter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.count", New: func() caddy.Module { return new(counter) }}
}

func (c *counter) Provision(ctx caddy.Context) (err error) {
	c.watch, c.lease, err = clientaddr.Take(ctx)
	return err
}

func (c *counter) Cleanup() error { return c.lease.Release() }

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	c.watch.See(r)
	addr, _ := clientaddr.Of(r)
	countsMu.Lock()
	counts[addr]++
	countsMu.Unlock()
	return next.ServeHTTP(w, r)
}

var (
	_ caddy.Provisioner           = (*counter)(nil)
	_ caddy.CleanerUpper          = (*counter)(nil)
	_ caddyfile.Unmarshaler       = (*counter)(nil)
	_ caddyhttp.MiddlewareHandler = (*counter)(nil)
)

func (*counter) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// start runs two servers, each with two counting handlers, and returns a function that counts a text in the log.
func start(t *testing.T, servers string) (*gatehousetest.Server, func(string) int) {
	t.Helper()
	countsMu.Lock()
	counts = map[netip.Addr]int{}
	countsMu.Unlock()
	file := filepath.Join(t.TempDir(), "log")
	s := gatehousetest.Start(t, fmt.Sprintf(`{
	servers {
		%s
	}
	log {
		output file %s
	}
}
:8080, :8081 {
	route {
		count
		count
		respond ok
	}
}`, servers, file))
	return s, func(text string) int {
		log, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(log), text)
	}
}

const (
	untrusted = "requests carry X-Forwarded-For and this server has no trusted_proxies"
	notStrict = "this server has trusted_proxies and not trusted_proxies_strict"
)

func TestTenThousandForgedAddressesAreOne(t *testing.T) {
	s, logged := start(t, "")
	const requests = 10_000
	for i := range requests {
		s.Get("/", fmt.Sprintf("X-Forwarded-For: 10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	if len(counts) != 1 || counts[loopback] != 2*requests { // two handlers a request
		t.Fatalf("%d addresses, of which %s %d times", len(counts), loopback, counts[loopback])
	}
	if n := logged(untrusted); n != 1 {
		t.Fatalf("%d lines in the log, want one", n)
	}
	s.Do(http.MethodGet, s.URL(":8081"), "", "X-Forwarded-For: 10.0.0.1")
	if n := logged(untrusted); n != 2 {
		t.Fatalf("%d lines in the log, want one a server", n)
	}
	if n := logged(notStrict); n != 0 {
		t.Fatalf("a server without trusted_proxies was said to have them")
	}
}

func TestTrustedProxiesThatAreNotStrict(t *testing.T) {
	s, logged := start(t, "trusted_proxies static 127.0.0.1")
	if n := logged(notStrict); n != 2 {
		t.Fatalf("%d lines in the log at load, want one a server", n)
	}
	s.Get("/", "X-Forwarded-For: 203.0.113.7")
	if logged(untrusted) != 0 || logged(notStrict) != 2 {
		t.Fatal("a trusted proxy's header was said to be untrusted")
	}
	if counts[netip.MustParseAddr("203.0.113.7")] != 2 {
		t.Fatalf("got %v", counts)
	}
}

func TestStrictTrustedProxies(t *testing.T) {
	s, logged := start(t, "trusted_proxies static 198.51.100.1\n\t\ttrusted_proxies_strict")
	s.Get("/", "X-Forwarded-For: 203.0.113.7") // of a peer that is no proxy
	if logged(untrusted) != 0 || logged(notStrict) != 0 {
		t.Fatal("a well configured server was complained of")
	}
}
