// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package clientaddr

import (
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

// Watch finds the servers of one config whose client addresses are not what they seem, and logs one line a server:
// where a proxy in front sends X-Forwarded-For and the server trusts none, and where the server trusts the wrong end of it.
// It is safe for concurrent use.
type Watch struct {
	logger  *zap.Logger
	servers sync.Map // of *caddyhttp.Server to *finding; as many entries as the config has servers
}

// finding is what is known of one server.
type finding struct {
	trusts bool        // it has trusted_proxies
	warned atomic.Bool // the line about X-Forwarded-For was logged
}

// pool holds one Watch a config, so that ten modules on one server log one line.
var pool = caddy.NewUsagePool()

// Destruct implements caddy.Destructor.
func (*Watch) Destruct() error { return nil }

// Take returns the config's Watch. A handler calls it in Provision, where its server is known and is looked at in passing,
// and releases the lease in Cleanup.
func Take(ctx caddy.Context) (*Watch, lease.Lease, error) {
	// The metrics registry is new with each config, and the same in all of one.
	key := fmt.Sprintf("%p", ctx.GetMetricsRegistry())
	w, l, err := lease.Take(pool, key, func() (*Watch, error) {
		return &Watch{logger: ctx.Logger().Named("client_address")}, nil
	})
	if err != nil {
		return nil, lease.Lease{}, fmt.Errorf("watching client addresses: %w", err)
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		w.inspect(server)
	}
	return w, l, nil
}

// See looks at a request. All but the first that carries an untrusted X-Forwarded-For cost a look into the headers.
func (w *Watch) See(r *http.Request) {
	if len(r.Header["X-Forwarded-For"]) == 0 {
		return
	}
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil {
		return
	}
	f := w.inspect(server)
	if f.trusts || f.warned.Load() || !f.warned.CompareAndSwap(false, true) {
		return
	}
	w.logger.Warn("requests carry X-Forwarded-For and this server has no trusted_proxies: if a proxy stands in front, "+
		"all clients behind it count as one address for every limit and ban keyed by address; "+
		"name the proxy in the global options, in servers { trusted_proxies ... }",
		zap.String("server", server.Name()),
		zap.String("peer", r.RemoteAddr))
}

// inspect returns what is known of the server, and looks at it the first time.
func (w *Watch) inspect(server *caddyhttp.Server) *finding {
	if known, ok := w.servers.Load(server); ok {
		return known.(*finding)
	}
	known, loaded := w.servers.LoadOrStore(server, &finding{trusts: trustsProxies(server)})
	f := known.(*finding)
	if !loaded && f.trusts && server.TrustedProxiesStrict == 0 {
		w.logger.Warn("this server has trusted_proxies and not trusted_proxies_strict: the left-most address of the header is "+
			"taken for the client's, which a client chooses freely if the proxy in front appends; "+
			"add trusted_proxies_strict unless that proxy replaces the header",
			zap.String("server", server.Name()))
	}
	return f
}

// trustsProxies reports whether the server has trusted_proxies. Caddy clears the configuration once it is loaded and
// keeps the result in a field that it does not export, whose being nil can be read and no more; a test notices
// if the field moves.
func trustsProxies(server *caddyhttp.Server) bool {
	if server.TrustedProxiesRaw != nil || server.TrustedProxiesUnix {
		return true
	}
	field := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	return field.IsValid() && field.Kind() == reflect.Interface && !field.IsNil()
}
