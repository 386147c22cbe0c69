// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
)

const (
	// maxBody bounds a request's body.
	maxBody = 4 << 20
	// maxPurges bounds the purges of one request.
	maxPurges = 10_000
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin serves the caches of the running config on the admin endpoint:
//
//	GET  /gatehouse/cache                                  how full the caches are
//	POST /gatehouse/cache/purge                            removes answers
//	GET  /gatehouse/cache/inspect?url=https://host/path    what is stored of a URL
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse_cache", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/gatehouse/cache", Handler: route{http.MethodGet, serveStats}},
		{Pattern: "/gatehouse/cache/purge", Handler: route{http.MethodPost, servePurge}},
		{Pattern: "/gatehouse/cache/inspect", Handler: route{http.MethodGet, serveInspect}},
	}
}

// route serves one path and method with what a function returns, as JSON.
type route struct {
	method string
	serve  func(a *App, r *http.Request) (any, error)
}

// ServeHTTP implements caddy.AdminHandler.
func (rt route) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if err := adminapi.Allow(w, r, rt.method); err != nil {
		return err
	}
	app, err := caddy.ActiveContext().AppIfConfigured("response_caches")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return adminapi.Refuse(http.StatusNotFound, "the running config has no response cache: add response_cache to a site")
	}
	if err != nil {
		return adminapi.Refuse(http.StatusInternalServerError, "%w", err)
	}
	answer, err := rt.serve(app.(*App), r)
	if err != nil {
		return err
	}
	return adminapi.Answer(w, answer)
}

func serveStats(a *App, _ *http.Request) (any, error) {
	var sum Stats
	for _, c := range a.all() {
		sum.add(c.stats())
	}
	return sum, nil
}

// purgeRequest asks to remove answers.
type purgeRequest struct {
	// Purges say which, at least one.
	Purges []Purge `json:"purges"`
}

// purgeAnswer says what was done.
type purgeAnswer struct {
	// Purged is how many purges were carried out.
	Purged int `json:"purged"`
	// Sent says that other proxies will hear of them.
	Sent bool `json:"sent"`
}

func servePurge(a *App, r *http.Request) (any, error) {
	var req purgeRequest
	if err := adminapi.Read(r, maxBody, &req); err != nil {
		return nil, err
	}
	if len(req.Purges) == 0 || len(req.Purges) > maxPurges {
		return nil, adminapi.Refuse(http.StatusBadRequest, "purges: expected 1 to %d of them, found %d", maxPurges, len(req.Purges))
	}
	for i := range req.Purges {
		if err := req.Purges[i].check(); err != nil {
			return nil, adminapi.Refuse(http.StatusBadRequest, "purge %d: %w", i+1, err)
		}
	}
	if err := a.purge(r.Context(), req.Purges); err != nil {
		return nil, adminapi.Refuse(http.StatusServiceUnavailable, "%w", err)
	}
	a.logger.Info("an operator purged the cache",
		zap.Int("purges", len(req.Purges)),
		zap.String("kind", req.Purges[0].Kind),
		zap.String("first", req.Purges[0].Value),
		zap.Bool("soft", req.Purges[0].Soft),
		zap.String("operator", r.RemoteAddr))
	return purgeAnswer{Purged: len(req.Purges), Sent: a.feed != nil}, nil
}

// Variant is one stored answer, as inspect tells of it.
type Variant struct {
	// Key is what it is stored under.
	Key string `json:"key"`
	// Status is its HTTP status.
	Status int `json:"status"`
	// Bytes is the length of its body.
	Bytes int64 `json:"bytes"`
	// Range is which bytes of the whole are held, as in Content-Range; empty if all are.
	Range string `json:"range,omitempty"`
	// Age is its age in seconds.
	Age int64 `json:"age"`
	// TTL is what is left of its lifetime, in seconds: negative once it is stale.
	TTL int64 `json:"ttl"`
	// State is `fresh`, `stale` or `purged`.
	State string `json:"state"`
	// Coding is the content coding of its body; empty for none.
	Coding string `json:"coding,omitempty"`
	// Vary are the request fields that select it.
	Vary map[string]string `json:"vary,omitempty"`
	// ETag is its entity tag, if it has one.
	ETag string `json:"etag,omitempty"`
}

// inspectAnswer is what is stored of a URL.
type inspectAnswer struct {
	// Variants are the stored answers; [] if there are none.
	Variants []Variant `json:"variants"`
}

func serveInspect(a *App, r *http.Request) (any, error) {
	text := r.URL.Query().Get("url")
	p := Purge{Kind: PurgeURL, Value: text}
	if err := p.check(); err != nil {
		return nil, adminapi.Refuse(http.StatusBadRequest, "url: %w", err)
	}
	answer := inspectAnswer{Variants: []Variant{}}
	for _, c := range a.all() {
		answer.Variants = append(answer.Variants, c.inspect(p.Value)...)
	}
	return answer, nil
}

// inspect finds what is stored of a URL. It walks the whole store, as keys may have further parts.
func (c *cache) inspect(url string) (found []Variant) {
	urls := c.spellings(url)
	now := time.Now()
	c.store.Walk(func(v Value) bool {
		r, ok := v.(*resource)
		if !ok || !slices.Contains(urls, urlOf(r.key)) {
			return true
		}
		for _, o := range r.objects {
			found = append(found, o.variant(now))
		}
		return true
	})
	slices.SortFunc(found, func(a, b Variant) int { return strings.Compare(a.Key, b.Key) })
	return found
}

func (o *object) variant(now time.Time) Variant {
	age := o.age(now)
	v := Variant{
		Key: o.key, Status: o.status, Bytes: o.length, Age: int64(age / time.Second), TTL: int64((o.lifetime - age) / time.Second),
		State: "fresh", Coding: o.header.get("Content-Encoding"), ETag: o.header.get("Etag"),
	}
	if o.partial() {
		v.Range = byteRange{o.first, o.length}.contentRange(o.total)
	}
	dead, soft := o.gen.state(o)
	switch {
	case dead:
		v.State = "purged"
	case soft || age >= o.lifetime:
		v.State = "stale"
	}
	for _, f := range o.vary {
		if v.Vary == nil {
			v.Vary = map[string]string{}
		}
		v.Vary[f.name] = f.value
	}
	return v
}

// Interface guards
var (
	_ caddy.AdminRouter  = (*Admin)(nil)
	_ caddy.AdminHandler = route{}
)
