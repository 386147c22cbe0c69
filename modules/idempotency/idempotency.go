// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package idempotency carries out requests with an Idempotency-Key at most once, whatever breaks, and answers their retries
// with the first answer.
//
//	idempotency.go               configuration        handle.go     the way of a request
//	admit.go, key.go, scope.go   what a request is    plan.go       what is decided: read this first
//	dispatch.go, guard.go        sending it once      recorder.go   its response, held until it is stored
//	store.go                     where records are    engine.go     what outlives a config: waiters
//	answer.go, seal.go           what they look like  settle.go     steps that the store did not take at once
package idempotency

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/backend"
	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

func init() { caddy.RegisterModule(Handler{}) }

// Handler protects requests that carry an idempotency key: at most one of those with one key reaches the application, and
// all get its answer.
//
// These placeholders are set, and an access-log field idempotency_key of the same, for requests with a key or that need one:
//
// Placeholder | Description
// ------------|------------
// `{http.gatehouse.idempotency_key.outcome}` | `executed`, `replayed`, `in_flight`, `mismatch`, `unresolved`, ...
// `{http.gatehouse.idempotency_key.operation}` | The name of the operation's record, as `gatehouse idempotency` takes it
type Handler struct {
	// Header is the request header that carries the key. Default: Idempotency-Key.
	Header string `json:"header,omitempty"`
	// Methods are the methods that are protected; GET, HEAD, OPTIONS, TRACE and CONNECT cannot be. Default: POST and PATCH.
	Methods []string `json:"methods,omitempty"`
	// Require are the paths, as in Caddy's path matcher, on which requests of these methods need a key; without one they
	// are refused with 400. Default: none.
	Require caddyhttp.MatchPath `json:"require,omitempty"`
	// Strict accepts keys in the quotes of a structured-field string only. Default: false, which takes bare words too.
	Strict bool `json:"strict,omitempty"`
	// MaxKey is the longest key in characters, from 1 to 4096. Default (and zero): 255.
	MaxKey int `json:"max_key,omitempty"`

	// Realm keeps keys apart that have nothing to do with each other, such as those of two sites with one store.
	// Placeholders of the request are expanded. Default: empty, which is one realm.
	Realm string `json:"realm,omitempty"`
	// APIKeyHeaders are request headers that identify a client which sends no Authorization. Default: X-Api-Key.
	APIKeyHeaders []string `json:"api_key_headers,omitempty"`
	// Scope are texts with placeholders of the request, such as {http.request.cookie.session}, that identify clients which
	// have neither a user nor credentials. Default: none.
	Scope []string `json:"scope,omitempty"`
	// Anonymous says what becomes of clients without any identity: shared, as if they were one client; ip, each address is
	// one; or reject, with 400. Default: shared: the fingerprint guards their answers, and keys survive a change of network.
	Anonymous string `json:"anonymous,omitempty"`
	// Secret keys the HMACs that the store sees instead of keys and credentials, and the encryption. At least 16 bytes, the
	// same on all proxies; placeholders of the process ({env.*}, {file.*}) are expanded. To change it is to forget all
	// records. Default: a constant, which hides nothing from who guesses.
	Secret string `json:"secret,omitempty"`
	// Encrypt stores answers encrypted (AES-256-GCM), and leaves paths out of what operators see. Needs Secret. Default: false.
	Encrypt bool `json:"encrypt,omitempty"`

	// TTL is how long answers are kept, and outcomes that are unknown. Default (and zero): 24h.
	TTL caddy.Duration `json:"ttl,omitempty"`
	// Lease is how long a proxy may be silent about a request that it sent, before its outcome counts as unknown. At least
	// 100ms, at most TTL. Default (and zero): 15s.
	Lease caddy.Duration `json:"lease,omitempty"`
	// Wait is how long a request waits for the answer of another one with its key before it is refused with 409. Zero refuses
	// at once, and answers are given only when they are stored. Default: 10s.
	Wait *caddy.Duration `json:"wait,omitempty"`
	// MaxWaiters is how many requests may wait at once, for all handlers with one store; further ones are refused at once.
	// Default (and zero): 10,000.
	MaxWaiters int `json:"max_waiters,omitempty"`
	// MaxWaitingSize is how many bytes the bodies of waiting requests may take together, for all handlers with one store;
	// further requests are refused at once. Default (and zero): 256 MiB.
	MaxWaitingSize int64 `json:"max_waiting_size,omitempty"`
	// Timeout bounds an operation, which goes on when its client leaves. After it the outcome is unknown. At most
	// TTL. Default (and zero): 5m, or TTL if that is shorter.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Precise claims and sends in two steps: a proxy that dies in between then leaves no unknown outcome. It also gives an answer
	// only when it is stored, or the store has failed to take it. Both cost a round trip to the store. Default: false.
	Precise bool `json:"precise,omitempty"`
	// MaxBody is the largest request body in bytes; larger ones are refused with 413. Default (and zero): 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`
	// MaxResponse is the largest response body in bytes that is kept. A larger one is passed through, and its replay refused.
	// Default (and zero): 1 MiB.
	MaxResponse int64 `json:"max_response,omitempty"`

	// ReleaseStatus are statuses of the application that mean that nothing was carried out: the key is free again, as it is
	// after 503 with Retry-After. Default: 408, 425 and 429.
	ReleaseStatus []int `json:"release_status,omitempty"`
	// MismatchStatus refuses a key that was used for another request. From 400 to 499; default (and zero): 422.
	MismatchStatus int `json:"mismatch_status,omitempty"`
	// ConflictStatus refuses a request while another one with its key is under way, or if the outcome of that is unknown.
	// From 400 to 499; default (and zero): 409.
	ConflictStatus int `json:"conflict_status,omitempty"`
	// MissingStatus refuses a request whose key is missing or malformed. From 400 to 499; default (and zero): 400.
	MissingStatus int `json:"missing_status,omitempty"`
	// ReplayHeader is the response header that marks a replay, with the value true; "-" is none. Default: Idempotent-Replayed.
	ReplayHeader string `json:"replay_header,omitempty"`
	// Fields are further response header fields to keep and replay, by name or by their beginning with a star (X-Order-*).
	// Default: none beside those that describe the content and what was made.
	Fields []string `json:"fields,omitempty"`
	// DescribedBy is the URL of your description of how keys work, for the Link of refusals and, with a fragment, their
	// types. Default: this project's page.
	DescribedBy string `json:"described_by,omitempty"`

	// StoreRaw is where records are kept: a module of the namespace gatehouse.idempotency_stores. Default: redis if a
	// default Redis client is configured, else memory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=gatehouse.idempotency_stores inline_key=store"`
	// StoreTimeout is how long a request waits for the store. Default (and zero): 200ms.
	StoreTimeout caddy.Duration `json:"store_timeout,omitempty"`
	// MaxUnsettled is how many steps that the store did not take at once are kept to be tried again, for all handlers with one
	// store. Further ones are dropped and counted: their outcomes turn unknown when their leases end. Default (and zero): 10,000.
	MaxUnsettled int `json:"max_unsettled,omitempty"`
	// MaxUnsettledSize is how many bytes the answers in these steps may take together; what does not fit is dropped as well.
	// Default (and zero): 64 MiB.
	MaxUnsettledSize int64 `json:"max_unsettled_size,omitempty"`
	// OnStoreError says what becomes of requests with a key while the store is away: closed refuses them with 503, before
	// anything is sent; open passes them on unprotected. Default: closed.
	OnStoreError string `json:"on_store_error,omitempty"`
	// OnUnknown says what becomes of the retry of an operation whose outcome is unknown: reject refuses it with 409; retry
	// sends it, for applications that honour the key themselves; probe asks the application at Probe. Default: reject.
	OnUnknown string `json:"on_unknown,omitempty"`
	// Probe is the path and query, with placeholders of the request, of a GET by which the application tells what became of
	// an operation: 2xx is its answer, 404 says that nothing happened, anything else that it does not know. Default: none.
	Probe string `json:"probe,omitempty"`
	// DryRun decides, logs and counts, and lets every request pass; nothing is replayed or refused. Default: false.
	DryRun bool `json:"dry_run,omitempty"`

	methods  map[string]bool
	apiKeys  []string
	fields   *fieldFilter
	keys     *keys
	problems problems
	store    Store
	engine   *engine
	source   *source
	lease    lease.Lease
	recorder *decision.Recorder
	bound    bound
	logger   *zap.Logger
}

// What a configuration may say.
const (
	storeErrorClosed = "closed"
	storeErrorOpen   = "open"
	unknownReject    = "reject"
	unknownRetry     = "retry"
	unknownProbe     = "probe"
)

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.idempotency_key", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner. It dials nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.defaults()
	if err := h.check(); err != nil {
		return fmt.Errorf("idempotency_key: %w", err)
	}
	if err := h.prepare(ctx); err != nil {
		return fmt.Errorf("idempotency_key: %w", err)
	}
	raw := h.StoreRaw // loading clears it
	store, err := backend.Load[Store](ctx, h, "StoreRaw", Namespace, raw)
	if err != nil {
		return fmt.Errorf("idempotency_key: %w", err)
	}
	key, name, err := engineKey(store, raw)
	if err != nil {
		return fmt.Errorf("idempotency_key: %w", err)
	}
	h.store = store
	h.engine, h.lease, err = lease.Take(engines, key, func() (*engine, error) { return newEngine(name), nil })
	if err != nil {
		return fmt.Errorf("idempotency_key: sharing what is under way: %w", err)
	}
	h.source = &source{store: store, keys: h.keys, retention: milliseconds(h.TTL), logger: h.logger}
	h.engine.attach(h.source)
	if name != "memory" && h.Secret == "" {
		h.logger.Warn("keys and credentials are hashed without a secret of yours: who reads the store can test guesses; " +
			"set `secret` to the same value on all proxies")
	}
	h.warnOfInnerAuthentication(ctx)
	return nil
}

// prepare makes what requests use.
func (h *Handler) prepare(ctx caddy.Context) (err error) {
	if err := h.Require.Provision(ctx); err != nil {
		return fmt.Errorf("require: %w", err)
	}
	secret, err := caddy.NewReplacer().ReplaceOrErr(h.Secret, true, true)
	if err != nil { // not quoted: what looks like a placeholder may be a part of the secret
		return errors.New(`secret: a placeholder in it is unknown or empty (a literal brace is written \{)`)
	}
	if h.Secret != "" && len(secret) < minSecret {
		return fmt.Errorf("secret: expected at least %d bytes, found %d", minSecret, len(secret))
	}
	if h.keys, err = newKeys(secret, h.Encrypt); err != nil {
		return err
	}
	if h.fields, err = newFieldFilter(h.Fields); err != nil {
		return fmt.Errorf("fields: %w", err)
	}
	h.methods = make(map[string]bool, len(h.Methods))
	for _, method := range h.Methods {
		h.methods[method] = true
	}
	for _, name := range h.APIKeyHeaders {
		h.apiKeys = append(h.apiKeys, http.CanonicalHeaderKey(name))
	}
	h.problems = h.newProblems()
	h.recorder = decision.New("idempotency_key", "operation")
	h.bound = bind(h.DryRun)
	return meter.Register(ctx.GetMetricsRegistry(), metrics().all()...)
}

// Cleanup implements caddy.CleanerUpper.
func (h *Handler) Cleanup() error {
	if h.source != nil {
		h.engine.detach(h.source)
	}
	return h.lease.Release()
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
