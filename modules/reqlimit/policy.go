// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/gaissmai/bart"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

const (
	defaultIPv6Prefix = 64
	maxName           = 64
)

// Errors that error routes see as {err.message}.
var (
	errOverLimit = errors.New("the request is over its limit")
	errAway      = errors.New("the store of limits is away")
)

// Provision implements caddy.Provisioner. It dials nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.storeText = string(h.StoreRaw)
	h.fillIn()
	if err := h.check(); err != nil {
		return fmt.Errorf("request_limit: %w", err)
	}
	if err := h.prepare(); err != nil {
		return fmt.Errorf("request_limit: policy %s: %w", h.Name, err)
	}
	if err := h.connect(ctx); err != nil {
		return fmt.Errorf("request_limit: policy %s: %w", h.Name, err)
	}
	h.bind()
	return nil
}

// fillIn fills the defaults in.
func (h *Handler) fillIn() {
	h.Algorithm = cmp.Or(h.Algorithm, Sliding)
	if h.Algorithm == Sliding {
		h.Buckets = cmp.Or(h.Buckets, window.DefaultBuckets)
	}
	h.Key = cmp.Or(h.Key, defaultKey)
	h.IPv6Prefix = cmp.Or(h.IPv6Prefix, defaultIPv6Prefix)
	h.Status = cmp.Or(h.Status, http.StatusTooManyRequests)
	h.Headers = cmp.Or(h.Headers, headersStandard)
	h.OnStoreError = cmp.Or(h.OnStoreError, "local")
	if h.Name == "" {
		names := make([]string, len(h.Windows))
		for i, w := range h.Windows {
			names[i] = w.String()
		}
		h.Name = strings.Join(names, "+")
	}
}

// check finds what cannot be meant. It works with and without defaults filled in.
func (h *Handler) check() error {
	if h.Name != "" {
		if _, err := policyName(h.Name); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
	}
	if len(h.Windows) == 0 || len(h.Windows) > window.MaxWindows {
		return fmt.Errorf("window: expected 1 to %d windows, found %d", window.MaxWindows, len(h.Windows))
	}
	if err := h.checkAlgorithm(); err != nil {
		return err
	}
	for _, w := range h.Windows {
		if err := w.check(h.Algorithm); err != nil {
			return fmt.Errorf("window: %w", err)
		}
		if h.Burst > w.Limit {
			return fmt.Errorf("burst: expected at most the limit of the window %s, found %d; a longer period has the same rate "+
				"and a higher limit", w, h.Burst)
		}
	}
	if h.IPv6Prefix != 0 && (h.IPv6Prefix < 32 || h.IPv6Prefix > 128) {
		return fmt.Errorf("ipv6_prefix: expected a whole number from 32 to 128, found %d", h.IPv6Prefix)
	}
	if _, err := headersWord(cmp.Or(h.Headers, headersStandard)); err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	if _, err := storeErrorWord(cmp.Or(h.OnStoreError, "local")); err != nil {
		return fmt.Errorf("on_store_error: %w", err)
	}
	if h.Status != 0 && (h.Status < 400 || h.Status > 599) {
		return fmt.Errorf("status: expected a whole number from 400 to 599, found %d", h.Status)
	}
	for _, status := range h.ChargeOn {
		if !validCharge(status) {
			return fmt.Errorf("charge_on: expected a status from 200 to 599, or its first digit, found %d", status)
		}
	}
	return h.Limits.check(h)
}

func headersWord(s string) (string, error) {
	return directive.OneOf(headersStandard, headersLegacy, headersAll, headersNone)(s)
}

func storeErrorWord(s string) (string, error) { return directive.OneOf("local", "open", "closed")(s) }

// checkAlgorithm finds options that the algorithm has no use for.
func (h *Handler) checkAlgorithm() error {
	algorithms := []string{"", Sliding, Exact, Smooth, GCRA, Concurrency}
	sliding := h.Algorithm == "" || h.Algorithm == Sliding
	switch {
	case !slices.Contains(algorithms, h.Algorithm):
		return fmt.Errorf("algorithm: expected one of %s, found %q", strings.Join(algorithms[1:], ", "), h.Algorithm)
	case h.Buckets < 0 || h.Buckets > window.MaxBuckets:
		return fmt.Errorf("buckets: expected a whole number from 1 to %d, found %d", window.MaxBuckets, h.Buckets)
	case h.Buckets != 0 && !sliding:
		return fmt.Errorf("buckets: the algorithm %s has none", h.Algorithm)
	case h.Burst < 0:
		return fmt.Errorf("burst: expected a whole number of at least 1, found %d", h.Burst)
	case h.Burst != 0 && h.Algorithm != GCRA:
		return errors.New("burst: only the algorithm gcra has one")
	case h.Algorithm == Concurrency && len(h.Windows) != 1:
		return fmt.Errorf("window: concurrency has one, found %d", len(h.Windows))
	case h.Algorithm == Concurrency && (h.CountDenied || len(h.ChargeOn) > 0):
		return errors.New("concurrency counts what is in flight: count_denied and charge_on have no meaning")
	case h.CountDenied && len(h.ChargeOn) > 0:
		return errors.New("count_denied and charge_on exclude each other: a refused request has no answer to charge on")
	}
	return nil
}

// validCharge accepts a status, or a class of them by its first digit.
func validCharge(status int) bool {
	return status >= 2 && status <= 5 || status >= 200 && status <= 599
}

// policyName accepts the name of a policy, or of a table of limits: it stands in headers, metrics and keys as it is.
func policyName(name string) (string, error) {
	if !validName(name) {
		return "", fmt.Errorf("expected a name of letters, digits and ._/+-, at most %d, found %q", maxName, name)
	}
	return name, nil
}

func validName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._/+-", r))
	})
}

// prepare makes what requests need of the options.
func (h *Handler) prepare() error {
	var err error
	if h.cost, err = newCost(h.Cost); err != nil {
		return fmt.Errorf("cost: %w", err)
	}
	h.key = newKey(h.Key, h.IPv6Prefix)
	for _, text := range h.Allow {
		prefix, err := directive.Prefix(text)
		if err != nil {
			return fmt.Errorf("allow: %w", err)
		}
		if h.allowed == nil {
			h.allowed = new(bart.Lite)
		}
		h.allowed.Insert(prefix)
	}
	if len(h.ChargeOn) > 0 {
		h.charges = map[int]bool{}
		for _, status := range h.ChargeOn {
			h.charges[status] = true
		}
	}
	h.gives = h.charges != nil || h.Algorithm == Concurrency
	h.tell = telling{
		standard: h.Headers == headersStandard || h.Headers == headersAll,
		legacy:   h.Headers == headersLegacy || h.Headers == headersAll,
	}
	h.recorder = decision.New("request_limit", "policy", "remaining", "class", "mode")
	if h.rules, err = h.newRules(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	h.closed, err = refusal.New(refusal.Problem{
		Status: http.StatusServiceUnavailable,
		Detail: "Requests cannot be counted at the moment. Try again soon.",
		Err:    errAway,
	})
	return err
}

// connect takes what is shared: the store, the tally, the config's policies.
func (h *Handler) connect(ctx caddy.Context) error {
	if err := meter.Register(ctx.GetMetricsRegistry(), metrics().all()...); err != nil {
		return err
	}
	joined, err := h.join(ctx)
	h.leases = append(h.leases, joined)
	if err != nil {
		return err
	}
	watch, l, err := clientaddr.Take(ctx)
	if err != nil {
		return err
	}
	h.watch, h.leases = watch, append(h.leases, l)
	if h.tally, l, err = takeTally(h.Name); err != nil {
		return err
	}
	h.leases = append(h.leases, l)
	h.counting.tally, h.counting.logger = h.tally, h.logger
	if h.Ban != nil {
		if h.striker, err = ipban.NewStriker(ctx, h.Name, *h.Ban, h.DryRun); err != nil {
			return fmt.Errorf("ban: %w", err)
		}
	}
	return h.open(ctx, h.spec())
}

// spec is what the store needs to know.
func (h *Handler) spec() Spec {
	return Spec{
		Policy: h.Name, Algorithm: h.Algorithm, Buckets: h.Buckets, Windows: h.rules.windows, Limit: h.rules.limit,
		Always: h.CountDenied,
	}
}

// Cleanup implements caddy.CleanerUpper.
func (h *Handler) Cleanup() error {
	var errs []error
	for i := range h.leases {
		errs = append(errs, h.leases[i].Release())
	}
	return errors.Join(errs...)
}
