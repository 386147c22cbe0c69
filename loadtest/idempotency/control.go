// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() {
	caddy.RegisterModule(control{})
	httpcaddyfile.RegisterHandlerDirective("control", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		args := h.RemainingArgs()
		if len(args) != 3 {
			return nil, h.ArgErr()
		}
		lease, err := directive.PositiveDuration(args[2])
		return &control{Algorithm: args[0], Redis: args[1], Lease: lease}, err
	})
}

// control is what is commonly built instead of a state machine. lock-ttl takes a lock that expires, looks for the answer,
// executes, stores the answer and unlocks; set-nx marks the key as being processed, executes and replaces the mark, and passes
// requests on while Redis is away. Both execute again when their lock or mark has expired.
type control struct {
	// Algorithm is lock-ttl or set-nx.
	Algorithm string `json:"algorithm"`
	// Redis is the address of the server.
	Redis string `json:"redis"`
	// Lease is how long a lock or mark lasts.
	Lease caddy.Duration `json:"lease"`

	redis *goredis.Client
}

// CaddyModule returns the Caddy module information.
func (control) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.control", New: func() caddy.Module { return new(control) }}
}

// Provision implements caddy.Provisioner.
func (c *control) Provision(caddy.Context) error {
	c.redis = goredis.NewClient(&goredis.Options{Addr: c.Redis, ReadTimeout: time.Second, MaxRetries: -1})
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (c *control) Cleanup() error { return c.redis.Close() }

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	key := r.Header.Get("Idempotency-Key")
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if c.Algorithm == algorithmLock {
		return c.locked(ctx, w, r, next, key)
	}
	return c.marked(ctx, w, r, next, key)
}

func (c *control) locked(ctx context.Context, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, key string) error {
	for {
		got, err := c.redis.SetNX(ctx, "lock:"+key, "x", time.Duration(c.Lease)).Result()
		if err != nil {
			return caddyhttp.Error(http.StatusServiceUnavailable, err)
		}
		if got {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	defer c.redis.Del(context.WithoutCancel(ctx), "lock:"+key)
	switch stored, err := c.redis.Get(ctx, "answer:"+key).Bytes(); {
	case err == nil:
		w.WriteHeader(http.StatusCreated)
		_, err = w.Write(stored)
		return err
	case !errors.Is(err, goredis.Nil):
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	answer, err := c.execute(w, r, next)
	if err == nil && answer != nil {
		err = c.redis.Set(ctx, "answer:"+key, answer, time.Hour).Err()
	}
	return err
}

func (c *control) marked(ctx context.Context, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, key string) error {
	got, err := c.redis.SetNX(ctx, "mark:"+key, "processing", time.Duration(c.Lease)).Result()
	if err != nil {
		return next.ServeHTTP(w, r)
	}
	if !got {
		stored, err := c.redis.Get(ctx, "mark:"+key).Result()
		if err != nil || stored == "processing" {
			return caddyhttp.Error(http.StatusConflict, errors.New("in progress"))
		}
		w.WriteHeader(http.StatusCreated)
		_, err = io.WriteString(w, stored)
		return err
	}
	answer, err := c.execute(w, r, next)
	if err == nil && answer != nil {
		return c.redis.Set(ctx, "mark:"+key, answer, time.Hour).Err()
	}
	c.redis.Del(context.WithoutCancel(ctx), "mark:"+key)
	return err
}

// execute returns the answer if it may be kept.
func (c *control) execute(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) ([]byte, error) {
	rec := caddyhttp.NewResponseRecorder(w, new(bytes.Buffer), func(int, http.Header) bool { return true })
	if err := next.ServeHTTP(rec, r); err != nil {
		return nil, err
	}
	answer := bytes.Clone(rec.Buffer().Bytes())
	if err := rec.WriteResponse(); err != nil || rec.Status() >= 300 {
		return nil, err
	}
	return answer, nil
}
