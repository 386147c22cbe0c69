// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

func init() { httpcaddyfile.RegisterHandlerDirective("idempotency_key", parseHandler) }

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	idempotency_key [<matcher>] {
//		header          <name>
//		methods         <method...>
//		require         [<path...>]
//		strict
//		max_key         <n>
//		realm           <text>
//		api_key_header  <name...>
//		scope           <placeholder...>
//		anonymous       shared|ip|reject
//		secret          <text>
//		encrypt
//		ttl             <duration>
//		lease           <duration>
//		wait            <duration>
//		max_waiters     <n>
//		max_waiting_size <size>
//		timeout         <duration>
//		precise
//		max_body        <size>
//		max_response    <size>
//		release_status  <code...>
//		mismatch_status <code>
//		conflict_status <code>
//		missing_status  <code>
//		replay_header   <name>|off
//		fields          <pattern...>
//		described_by    <url>
//		store           <name> [<args...>]
//		store_timeout   <duration>
//		max_unsettled   <n>
//		max_unsettled_size <size>
//		on_store_error  closed|open
//		on_unknown      reject|retry|probe <path>
//		dry_run
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.End(d); err != nil {
		return err
	}
	options := directive.Options{}
	h.requestOptions(d, options)
	h.recordOptions(d, options)
	h.answerOptions(d, options)
	if err := directive.Block(d, options, "fields", "scope", "require"); err != nil {
		return err
	}
	if h.Lease > 0 && h.TTL > 0 && h.Lease > h.TTL {
		return d.Err("lease: it is longer than ttl, so the record would be forgotten while it is held")
	}
	if h.Timeout > 0 && h.TTL > 0 && h.Timeout > h.TTL {
		return d.Err("timeout: it is longer than ttl, so the record could be forgotten while its request is under way")
	}
	if h.Encrypt && h.Secret == "" {
		return d.Err("encrypt: needs a secret")
	}
	return nil
}

// requestOptions are about which requests are protected, and whose they are.
func (h *Handler) requestOptions(d *caddyfile.Dispenser, options directive.Options) {
	options["header"] = func() error { return directive.Arg(d, &h.Header, fieldName) }
	options["methods"] = func() error { return directive.Args(d, &h.Methods, protectable) }
	options["require"] = func() error { return h.parseRequire(d) }
	options["strict"] = func() error { return directive.Flag(d, &h.Strict) }
	options["max_key"] = func() error { return directive.Arg(d, &h.MaxKey, directive.Integer(1, maxKeyLength)) }
	options["realm"] = func() error { return directive.Arg(d, &h.Realm, directive.Word) }
	options["api_key_header"] = func() error { return directive.Args(d, &h.APIKeyHeaders, fieldName) }
	options["scope"] = func() error { return directive.Args(d, &h.Scope, directive.Word) }
	options["anonymous"] = func() error {
		return directive.Arg(d, &h.Anonymous, directive.OneOf(anonymousShared, anonymousIP, anonymousReject))
	}
	options["secret"] = func() error { return directive.Arg(d, &h.Secret, secretText) }
	options["encrypt"] = func() error { return directive.Flag(d, &h.Encrypt) }
	options["dry_run"] = func() error { return directive.Flag(d, &h.DryRun) }
	options["max_body"] = func() error { return directive.Arg(d, &h.MaxBody, directive.Size) }
}

// recordOptions are about the state of an operation and where it is kept.
func (h *Handler) recordOptions(d *caddyfile.Dispenser, options directive.Options) {
	options["ttl"] = func() error { return directive.Arg(d, &h.TTL, directive.PositiveDuration) }
	options["lease"] = func() error { return directive.Arg(d, &h.Lease, leaseTime) }
	options["wait"] = func() error {
		h.Wait = new(caddy.Duration)
		return directive.Arg(d, h.Wait, directive.Duration)
	}
	options["max_waiters"] = func() error { return directive.Arg(d, &h.MaxWaiters, directive.Integer(1, 1<<30)) }
	options["max_waiting_size"] = func() error { return directive.Arg(d, &h.MaxWaitingSize, directive.Size) }
	options["timeout"] = func() error { return directive.Arg(d, &h.Timeout, directive.PositiveDuration) }
	options["precise"] = func() error { return directive.Flag(d, &h.Precise) }
	options["store"] = func() error { return directive.Guest(d, Namespace, "store", &h.StoreRaw) }
	options["store_timeout"] = func() error { return directive.Arg(d, &h.StoreTimeout, directive.PositiveDuration) }
	options["max_unsettled"] = func() error { return directive.Arg(d, &h.MaxUnsettled, directive.Integer(1, 1<<30)) }
	options["max_unsettled_size"] = func() error { return directive.Arg(d, &h.MaxUnsettledSize, directive.Size) }
	options["on_store_error"] = func() error {
		return directive.Arg(d, &h.OnStoreError, directive.OneOf(storeErrorClosed, storeErrorOpen))
	}
	options["on_unknown"] = func() error { return h.parseOnUnknown(d) }
}

// answerOptions are about what clients get.
func (h *Handler) answerOptions(d *caddyfile.Dispenser, options directive.Options) {
	status := directive.Integer(400, 499)
	options["max_response"] = func() error { return directive.Arg(d, &h.MaxResponse, directive.Size) }
	options["release_status"] = func() error { return directive.Args(d, &h.ReleaseStatus, directive.Integer(400, 599)) }
	options["mismatch_status"] = func() error { return directive.Arg(d, &h.MismatchStatus, status) }
	options["conflict_status"] = func() error { return directive.Arg(d, &h.ConflictStatus, status) }
	options["missing_status"] = func() error { return directive.Arg(d, &h.MissingStatus, status) }
	options["replay_header"] = func() error { return directive.Arg(d, &h.ReplayHeader, replayHeader) }
	options["fields"] = func() error { return directive.Args(d, &h.Fields, fieldPattern) }
	options["described_by"] = func() error { return directive.Arg(d, &h.DescribedBy, description) }
}

// parseRequire takes paths; none means all.
func (h *Handler) parseRequire(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() == 0 {
		h.Require = append(h.Require, "*")
		return nil
	}
	return directive.Args(d, (*[]string)(&h.Require), requirePath)
}

func (h *Handler) parseOnUnknown(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("on_unknown: expected a value")
	}
	if err := directive.Value(d, "on_unknown", &h.OnUnknown, directive.OneOf(unknownReject, unknownRetry, unknownProbe)); err != nil {
		return err
	}
	if h.OnUnknown != unknownProbe {
		return directive.End(d)
	}
	if !d.NextArg() {
		return d.Err("on_unknown probe: expected the path of a GET that tells what became of an operation")
	}
	if err := directive.Value(d, "on_unknown probe", &h.Probe, requirePath); err != nil {
		return err
	}
	return directive.End(d)
}

func requirePath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") && s != "*" {
		return "", fmt.Errorf("expected a path that begins with a slash, found %q", s)
	}
	return s, nil
}

func secretText(s string) (string, error) {
	if len(s) < minSecret && !strings.Contains(s, "{") {
		return "", fmt.Errorf("expected at least %d bytes", minSecret)
	}
	return s, nil
}

func leaseTime(s string) (caddy.Duration, error) {
	v, err := directive.PositiveDuration(s)
	if err == nil && v < minLease {
		err = fmt.Errorf("expected at least 100ms, found %q", s)
	}
	return v, err
}

func replayHeader(s string) (string, error) {
	if s == "off" {
		return noHeader, nil
	}
	return fieldName(s)
}

func fieldPattern(s string) (string, error) { return s, checkPattern(s) }

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
