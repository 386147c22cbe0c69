// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"
)

const (
	defaultHeader       = "Idempotency-Key"
	defaultMaxKey       = 255
	defaultTTL          = caddy.Duration(24 * time.Hour)
	defaultLease        = caddy.Duration(15 * time.Second)
	defaultWait         = caddy.Duration(10 * time.Second)
	defaultTimeout      = caddy.Duration(5 * time.Minute)
	defaultStoreTimeout = caddy.Duration(200 * time.Millisecond)
	defaultMaxWaiters   = 10_000
	defaultWaitingSize  = 256 << 20
	defaultUnsettled    = 10_000
	defaultUnsettledSum = 64 << 20
	defaultSize         = 1 << 20
	defaultReplayHeader = "Idempotent-Replayed"
	defaultDescription  = "https://github.com/gatehouse-proxy/gatehouse/blob/main/docs/idempotency_key.md"

	minLease     = caddy.Duration(100 * time.Millisecond)
	maxKeyLength = 4096
	noHeader     = "-"
)

// defaults fills in what was left out, for JSON and Caddyfile alike.
func (h *Handler) defaults() {
	h.Header = http.CanonicalHeaderKey(cmp.Or(h.Header, defaultHeader))
	h.MaxKey = cmp.Or(h.MaxKey, defaultMaxKey)
	h.Anonymous = cmp.Or(h.Anonymous, anonymousShared)
	h.TTL, h.Lease = cmp.Or(h.TTL, defaultTTL), cmp.Or(h.Lease, defaultLease)
	h.Timeout, h.StoreTimeout = cmp.Or(h.Timeout, min(defaultTimeout, h.TTL)), cmp.Or(h.StoreTimeout, defaultStoreTimeout)
	h.MaxWaiters, h.MaxWaitingSize = cmp.Or(h.MaxWaiters, defaultMaxWaiters), cmp.Or(h.MaxWaitingSize, defaultWaitingSize)
	h.MaxUnsettled, h.MaxUnsettledSize = cmp.Or(h.MaxUnsettled, defaultUnsettled), cmp.Or(h.MaxUnsettledSize, defaultUnsettledSum)
	h.MaxBody, h.MaxResponse = cmp.Or(h.MaxBody, defaultSize), cmp.Or(h.MaxResponse, defaultSize)
	h.MismatchStatus = cmp.Or(h.MismatchStatus, http.StatusUnprocessableEntity)
	h.ConflictStatus = cmp.Or(h.ConflictStatus, http.StatusConflict)
	h.MissingStatus = cmp.Or(h.MissingStatus, http.StatusBadRequest)
	h.ReplayHeader = cmp.Or(h.ReplayHeader, defaultReplayHeader)
	h.DescribedBy = cmp.Or(h.DescribedBy, defaultDescription)
	h.OnStoreError, h.OnUnknown = cmp.Or(h.OnStoreError, storeErrorClosed), cmp.Or(h.OnUnknown, unknownReject)
	if h.Methods == nil {
		h.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	if h.APIKeyHeaders == nil {
		h.APIKeyHeaders = []string{"X-Api-Key"}
	}
	if h.ReleaseStatus == nil {
		h.ReleaseStatus = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}
	}
	if h.Wait == nil {
		wait := defaultWait
		h.Wait = &wait
	}
}

// check finds what cannot be meant. The Caddyfile's parser finds most of it earlier, with file and line.
func (h *Handler) check() error {
	checks := []error{
		oneOf("anonymous", h.Anonymous, anonymousShared, anonymousIP, anonymousReject),
		oneOf("on_store_error", h.OnStoreError, storeErrorClosed, storeErrorOpen),
		oneOf("on_unknown", h.OnUnknown, unknownReject, unknownRetry, unknownProbe),
		inRange("max_key", int64(h.MaxKey), 1, maxKeyLength),
		inRange("max_waiters", int64(h.MaxWaiters), 1, 1<<30),
		inRange("max_waiting_size", h.MaxWaitingSize, 1, 1<<40),
		inRange("max_unsettled", int64(h.MaxUnsettled), 1, 1<<30),
		inRange("max_unsettled_size", h.MaxUnsettledSize, 1, 1<<40),
		inRange("max_body", h.MaxBody, 1, 1<<40),
		inRange("max_response", h.MaxResponse, 1, 1<<40),
		inRange("mismatch_status", int64(h.MismatchStatus), 400, 499),
		inRange("conflict_status", int64(h.ConflictStatus), 400, 499),
		inRange("missing_status", int64(h.MissingStatus), 400, 499),
		headerName("header", h.Header),
		checkTimes(h),
	}
	for _, status := range h.ReleaseStatus {
		checks = append(checks, inRange("release_status", int64(status), 400, 599))
	}
	for _, method := range h.Methods {
		_, err := protectable(method)
		checks = append(checks, wrap("methods", err))
	}
	for _, name := range h.APIKeyHeaders {
		checks = append(checks, headerName("api_key_header", name))
	}
	if h.ReplayHeader != noHeader {
		checks = append(checks, headerName("replay_header", h.ReplayHeader))
	}
	if h.Encrypt && h.Secret == "" {
		checks = append(checks, errors.New("encrypt: needs a secret"))
	}
	_, err := description(h.DescribedBy)
	checks = append(checks, wrap("described_by", err), h.checkProbe())
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) checkProbe() error {
	switch {
	case h.OnUnknown == unknownProbe && !strings.HasPrefix(h.Probe, "/"):
		return fmt.Errorf("probe: expected a path that begins with a slash, found %q", h.Probe)
	case h.OnUnknown != unknownProbe && h.Probe != "":
		return errors.New("probe: needs on_unknown probe")
	}
	return nil
}

func checkTimes(h *Handler) error {
	switch {
	case h.TTL < 0, h.Lease < 0, h.Timeout < 0, h.StoreTimeout < 0, *h.Wait < 0:
		return errors.New("ttl, lease, wait, timeout, store_timeout: expected durations of zero or more")
	case h.Lease < minLease:
		return fmt.Errorf("lease: expected at least %s, found %s", time.Duration(minLease), time.Duration(h.Lease))
	case h.Timeout > h.TTL:
		return fmt.Errorf("timeout: %s is longer than ttl, which is %s: the record could be forgotten while its request is under way",
			time.Duration(h.Timeout), time.Duration(h.TTL))
	case h.Lease > h.TTL:
		return fmt.Errorf("lease: %s is longer than ttl, which is %s: the record would be forgotten while it is held",
			time.Duration(h.Lease), time.Duration(h.TTL))
	}
	return nil
}

func wrap(option string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", option, err)
}

func oneOf(option, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: expected one of %s, found %q", option, strings.Join(allowed, ", "), value)
}

func inRange(option string, value, low, high int64) error {
	if value >= low && value <= high {
		return nil
	}
	return fmt.Errorf("%s: expected a whole number from %d to %d, found %d", option, low, high, value)
}

func headerName(option, name string) error {
	_, err := fieldName(name)
	return wrap(option, err)
}

// fieldName accepts the name of a header field.
func fieldName(name string) (string, error) {
	if !httpguts.ValidHeaderFieldName(name) {
		return "", fmt.Errorf("expected the name of a header field, found %q", name)
	}
	return name, nil
}

// protectable accepts methods that have effects: the others are safe by RFC 9110 section 9.2.1, and CONNECT has no answer.
func protectable(method string) (string, error) {
	switch {
	case slices.Contains([]string{"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"}, method):
		return "", fmt.Errorf("%s cannot be protected: it has no effect to repeat, or no answer to keep", method)
	case !httpguts.ValidHeaderFieldName(method) || method != strings.ToUpper(method): // a method is a token, too
		return "", fmt.Errorf("expected a method in capitals, such as POST, found %q", method)
	}
	return method, nil
}

// description accepts an absolute URL without a fragment.
func description(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Fragment != "" || strings.ContainsAny(text, "<>\" ") {
		return "", fmt.Errorf("expected a URL without a fragment, such as https://api.example/docs/idempotency, found %q", text)
	}
	return text, nil
}
