// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// maxExact bounds the limit of a window that remembers each request: a store may have to do as much at once for one of them.
const maxExact = 1_000_000

// ConcurrencyRetry is how long a store tells a request to wait that found no place: a guess, as nobody knows when one of
// those in flight will end.
func ConcurrencyRetry(cost, limit int64) time.Duration {
	if cost > limit {
		return window.Never
	}
	return time.Second
}

// Window is a limit in one stretch of time.
type Window struct {
	// Limit is how much may be counted in any stretch of Period, 1 to 1,000,000,000; with concurrency, how many requests
	// may be in flight at once. A request counts 1 unless there is a cost.
	Limit int64 `json:"limit"`
	// Period is the stretch of time, 100 ms to 366 days. Concurrency has none.
	Period caddy.Duration `json:"period,omitempty"`
}

// String is the window as it is written: "100/1m".
func (w Window) String() string {
	if w.Period == 0 {
		return fmt.Sprint(w.Limit)
	}
	return fmt.Sprintf("%d/%s", w.Limit, shortDuration(time.Duration(w.Period)))
}

// shortDuration writes a duration without the zeros that time.Duration ends in: "1m", not "1m0s".
func shortDuration(d time.Duration) string {
	text := d.String()
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (w Window) check(algorithm string) error {
	if w.Limit < 1 || w.Limit > window.MaxLimit {
		return fmt.Errorf("limit: expected a whole number from 1 to %d, found %d", window.MaxLimit, w.Limit)
	}
	if algorithm == Exact && w.Limit > maxExact {
		return fmt.Errorf("limit: exact remembers each request, at most %d of them, found %d; use sliding", maxExact, w.Limit)
	}
	period := time.Duration(w.Period)
	if algorithm == Concurrency {
		if period != 0 {
			return fmt.Errorf("window %s: concurrency has no period", w)
		}
		return nil
	}
	if period < window.MinPeriod || period > window.MaxPeriod {
		return fmt.Errorf("period: expected a duration from %s to %s, found %q",
			window.MinPeriod, shortDuration(window.MaxPeriod), shortDuration(period))
	}
	return nil
}

// parseWindow reads a limit and, unless it is empty, a period.
func parseWindow(limit, period string) (Window, error) {
	n, err := directive.Integer(1, window.MaxLimit)(limit)
	if err != nil {
		return Window{}, fmt.Errorf("limit: %w", err)
	}
	w := Window{Limit: int64(n)}
	if period == "" {
		return w, nil
	}
	if w.Period, err = directive.PositiveDuration(period); err != nil {
		return Window{}, fmt.Errorf("period: %w", err)
	}
	return w, nil
}

// unlimited is the word for no limit, where a table of limits has windows otherwise.
const unlimited = "unlimited"

// parseWindows reads what a table that changes at run time has for an entry: "1000 1m, 10000 1h", "20" or "unlimited", which
// is no window.
func parseWindows(text string) ([]Window, error) {
	if strings.TrimSpace(text) == unlimited {
		return nil, nil
	}
	var windows []Window
	for part := range strings.SplitSeq(text, ",") {
		fields := strings.Fields(part)
		if len(fields) < 1 || len(fields) > 2 {
			return nil, fmt.Errorf("expected a limit and a period such as 1000 1m, or %s, found %q", unlimited, part)
		}
		w, err := parseWindow(fields[0], strings.Join(fields[1:], ""))
		if err != nil {
			return nil, err
		}
		windows = append(windows, w)
	}
	return windows, nil
}

// rule is a window.Rule, and what goes with it in an outage. Nil is no limit at all.
type rule struct {
	window.Rule
	// class names the entry of the table of limits; "" is the policy's own rule.
	class string
	share atomic.Pointer[share]
	// policy is the value of the header RateLimit-Policy; names begin the items of RateLimit.
	policy string
	names  []string
	// refusals are the answers of its windows.
	refusals []*refusal.Refusal
}

// share is a rule divided among n proxies.
type share struct {
	n    int
	rule *window.Rule
}

// divided returns the part of the rule that one of n proxies may use.
func (r *rule) divided(n int) *window.Rule {
	if n <= 1 {
		return &r.Rule
	}
	s := r.share.Load()
	if s == nil || s.n != n {
		part := r.Share(n)
		s = &share{n, &part}
		r.share.Store(s)
	}
	return s.rule
}

// newRule makes a rule of a policy with the windows of one of its classes.
func (h *Handler) newRule(class string, windows []Window) (*rule, error) {
	if len(windows) == 0 {
		return nil, nil
	}
	converted := make([]window.Window, len(windows))
	for i, w := range windows {
		if err := w.check(h.Algorithm); err != nil {
			return nil, err
		}
		converted[i] = window.Window{Limit: w.Limit, Period: time.Duration(w.Period)}
		if h.Algorithm == GCRA {
			converted[i].Burst = h.burst(w)
		}
	}
	r := &rule{Rule: window.NewRule(converted...), class: class}
	r.policy = policyHeader(h.Name, h.Algorithm, converted)
	r.names = quotaNames(h.Name, converted)
	for i := range converted {
		answer, err := h.newRefusal(quotaName(h.Name, converted, i))
		if err != nil {
			return nil, err
		}
		r.refusals = append(r.refusals, answer)
	}
	return r, nil
}

// quotaExceeded is the kind of problem that the draft of the RateLimit fields defines in section 6.
const quotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// newRefusal makes the answer of a window that refuses, which is called quota.
func (h *Handler) newRefusal(quota string) (*refusal.Refusal, error) {
	answer, err := refusal.New(refusal.Problem{
		Status:     h.Status,
		Type:       quotaExceeded,
		Detail:     "You have sent too many requests. The header Retry-After says when to try again.",
		Extensions: map[string]any{"violated-policies": []string{quota}},
		Err:        errOverLimit,
	})
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return answer, nil
}

// burst is how much of a GCRA window may come at once: what is configured, else a tenth of the limit. The policy's own windows
// have no limit below what is configured; an entry of a table of limits may have one.
func (h *Handler) burst(w Window) int64 {
	if h.Burst > 0 {
		return min(h.Burst, w.Limit)
	}
	return max(w.Limit/10, 1)
}
