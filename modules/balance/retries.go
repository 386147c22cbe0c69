// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// maxFailedRequests bounds how many requests of one handler are remembered as failed at a time. Retries of further ones
// may meet the same upstream again.
const maxFailedRequests = 100_000

// retries remembers which upstreams each request has failed on, so that no retry goes to one of them again.
//
// A request is known by its replacer, which is one for all of its attempts. Its variables, where per-request state usually
// goes, must not be written once an attempt was made: a connection attempt that the transport has given up may still
// read them, and Go ends the process when it sees a map read and written at once.
//
// A request that does not fail costs one comparison: nothing is looked up while no failed request is under way.
type retries struct {
	// enabled is set if the handler retries at all.
	enabled bool
	// answers is set if the handler may retry answers (lb_retry_match). Which ones depends on expressions that only the
	// handler evaluates, so every answer is noted: Select is asked again only if it is retried.
	answers bool

	pending  atomic.Int64 // len(requests)
	mu       sync.Mutex   // guards requests
	requests map[*caddy.Replacer]*failures
}

// failures are the upstreams that one request has failed on. It is used by that request's goroutine alone.
type failures struct{ upstreams []*upstream }

// has reports whether u is among them. A nil receiver has none.
func (f *failures) has(u *upstream) bool { return f != nil && slices.Contains(f.upstreams, u) }

func (r *retries) configure(lb *reverseproxy.LoadBalancing) {
	if lb == nil || lb.Retries == 0 && lb.TryDuration == 0 {
		return
	}
	r.enabled = true
	r.answers = len(lb.RetryMatchRaw) > 0
	r.requests = map[*caddy.Replacer]*failures{}
}

// note remembers that the request's attempt at u failed, or was answered with something that may be retried.
func (r *retries) note(ctx context.Context, u *upstream, failed bool) {
	if !r.enabled || !failed && !r.answers {
		return
	}
	request, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.requests[request]
	if f == nil {
		if len(r.requests) >= maxFailedRequests {
			return
		}
		f = new(failures)
		r.requests[request] = f
		r.pending.Add(1)
		context.AfterFunc(ctx, func() { r.forget(request) })
	}
	f.upstreams = append(f.upstreams, u)
}

func (r *retries) forget(request *caddy.Replacer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.requests, request)
	r.pending.Add(-1)
}

// failed returns the upstreams that the request has failed on, nil if there is none.
func (r *retries) failed(req *http.Request) *failures {
	if r.pending.Load() == 0 {
		return nil
	}
	request, _ := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[request]
}
