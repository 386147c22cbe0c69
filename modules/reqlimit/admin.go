// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin looks into the policies of the running config on the admin endpoint:
//
//	GET    /gatehouse/limits                    the policies
//	GET    /gatehouse/limits/{policy}           one of them, and who is refused most
//	GET    /gatehouse/limits/{policy}/{key}     how a key stands
//	DELETE /gatehouse/limits/{policy}/{key}     forgets what a key has used
//
// Policy and key are escaped as parts of a path, or given as ?policy=...&key=...: a path cannot hold every key.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse_limits", New: func() caddy.Module { return new(Admin) }}
}

const adminPath = "/gatehouse/limits"

// Routes implements caddy.AdminRouter.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(serveAdmin)},
		{Pattern: adminPath + "/", Handler: caddy.AdminHandlerFunc(serveAdmin)},
	}
}

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	if err := adminapi.Running(); err != nil {
		return err
	}
	policy, key, err := adminTarget(r)
	if err != nil {
		return err
	}
	allowed := []string{http.MethodGet}
	if key != "" {
		allowed = []string{http.MethodDelete, http.MethodGet}
	}
	if err := adminapi.Allow(w, r, allowed...); err != nil {
		return err
	}
	answer, err := adminAnswer(r, policy, key)
	if err != nil {
		return err
	}
	return adminapi.Answer(w, answer)
}

// adminTarget reads what is asked for.
func adminTarget(r *http.Request) (policy, key string, err error) {
	query := r.URL.Query()
	policy, key = query.Get("policy"), query.Get("key")
	rest := strings.Trim(strings.TrimPrefix(r.URL.EscapedPath(), adminPath), "/")
	if rest == "" {
		if policy == "" && key != "" {
			return "", "", adminapi.Refuse(http.StatusBadRequest, "policy: expected the policy that the key belongs to")
		}
		return policy, key, nil
	}
	first, second, _ := strings.Cut(rest, "/")
	policy, err1 := url.PathUnescape(first)
	key, err2 := url.PathUnescape(second)
	if err := errors.Join(err1, err2); err != nil {
		return "", "", adminapi.Refuse(http.StatusBadRequest, "the path is not well escaped: %w", err)
	}
	return policy, key, nil
}

func adminAnswer(r *http.Request, name, key string) (any, error) {
	if name == "" {
		list := []policyAnswer{} // [], never null
		for _, h := range running().all() {
			list = append(list, h.answer())
		}
		return list, nil
	}
	h := running().find(name)
	switch {
	case h == nil:
		return nil, adminapi.Refuse(http.StatusNotFound, "the running config has no policy %q", name)
	case key == "":
		answer := h.answer()
		answer.Offenders = h.tally.offenders.top(maxTop)
		return answer, nil
	}
	named, err := h.key.named(key)
	if err != nil {
		return nil, adminapi.Refuse(http.StatusBadRequest, "policy %s: key: %w", name, err)
	}
	if r.Method == http.MethodDelete {
		return h.reset(r, named)
	}
	return h.look(r, named)
}

// policyAnswer is what is told of a policy.
type policyAnswer struct {
	// Policy is its name.
	Policy string `json:"policy"`
	// Key is who is limited.
	Key string `json:"key"`
	// Algorithm is how requests are counted.
	Algorithm string `json:"algorithm"`
	// Windows are the limits, such as "100/1m".
	Windows []string `json:"windows"`
	// DryRun says that nobody is refused.
	DryRun bool `json:"dry_run,omitempty"`
	// Away says that the store is away, and what is done meanwhile: local, open or closed.
	Away string `json:"away,omitempty"`
	// Proxies is how many proxies share the counts; left out where they are not shared.
	Proxies int `json:"proxies,omitempty"`
	// Usage is how full the table in memory is; left out with other stores.
	Usage *Usage `json:"usage,omitempty"`
	// InvalidCosts is how many requests had a cost expression that gave no number, and counted as 1.
	InvalidCosts int64 `json:"invalid_costs,omitempty"`
	// Offenders are the keys that were refused most since the policy is there, at most 100, the worst first. Of one policy only.
	Offenders []offender `json:"offenders,omitempty"`
}

func (h *Handler) answer() policyAnswer {
	a := policyAnswer{
		Policy: h.Name, Key: h.key.template, Algorithm: h.Algorithm, DryRun: h.DryRun, Windows: texts(h.rules.own.Windows),
		InvalidCosts: h.cost.invalid.Load(),
	}
	if h.tally.isAway.Load() {
		a.Away = h.counting.onError.String()
	}
	if h.counting.shared != nil {
		a.Proxies = h.counting.shared.Proxies()
	}
	if bounded, ok := h.counting.store.(Bounded); ok {
		usage := bounded.Usage()
		a.Usage = &usage
	}
	return a
}

// texts writes windows as they are called.
func texts(windows []window.Window) []string {
	list := make([]string, len(windows))
	for i, w := range windows {
		list[i] = Window{Limit: w.Limit, Period: caddy.Duration(w.Period)}.String()
	}
	return list
}

// keyAnswer is how a key stands.
type keyAnswer struct {
	// Policy and Key are what was asked for; Key is as it is counted, an IPv6 address as its network for instance.
	Policy string `json:"policy"`
	// Key is who is limited.
	Key string `json:"key"`
	// Counts are the windows of the policy, and of each of its classes.
	Counts []countAnswer `json:"counts"`
}

// countAnswer is how a key stands in one window.
type countAnswer struct {
	// Class is the entry of the table of limits; left out for the policy's own windows.
	Class string `json:"class,omitempty"`
	// Window is the limit, such as "100/1m".
	Window string `json:"window"`
	// Remaining is how much would pass now.
	Remaining int64 `json:"remaining"`
	// Used is how much is counted.
	Used int64 `json:"used"`
	// Reset is how long until Remaining grows, in seconds; 0 if nothing is counted, or nobody knows.
	Reset float64 `json:"reset,omitempty"`
}

func (h *Handler) look(r *http.Request, key []byte) (any, error) {
	answer := keyAnswer{Policy: h.Name, Key: string(key)}
	for _, rule := range h.rules.every() {
		var result window.Result
		if err := h.counting.store.Take(r.Context(), &Ask{Key: key, Rule: &rule.Rule}, &result); err != nil {
			return nil, adminapi.Refuse(http.StatusServiceUnavailable, "%w", err)
		}
		for i, name := range texts(rule.Windows) {
			count := countAnswer{Class: rule.class, Window: name, Remaining: result.States[i].Remaining}
			if count.Used = rule.Windows[i].Capacity() - count.Remaining; count.Used > 0 {
				count.Reset = result.States[i].Reset.Round(time.Millisecond).Seconds()
			}
			answer.Counts = append(answer.Counts, count)
		}
	}
	return answer, nil
}

// resetAnswer says what was forgotten.
type resetAnswer struct {
	// Policy and Key are what was asked for.
	Policy string `json:"policy"`
	// Key is who is limited.
	Key string `json:"key"`
}

func (h *Handler) reset(r *http.Request, key []byte) (any, error) {
	for _, rule := range h.rules.every() {
		if err := h.counting.store.Reset(r.Context(), &Ask{Key: key, Rule: &rule.Rule}); err != nil {
			return nil, adminapi.Refuse(http.StatusServiceUnavailable, "%w", err)
		}
	}
	if h.counting.local != nil {
		for _, rule := range h.rules.every() {
			if err := h.counting.local.Reset(r.Context(), &Ask{Key: key, Rule: &rule.Rule}); err != nil {
				return nil, adminapi.Refuse(http.StatusInternalServerError, "%w", err)
			}
		}
	}
	h.tally.offenders.forget(string(key))
	h.logger.Info("an operator reset a limit", zap.String("policy", h.Name), zap.ByteString("key", key),
		zap.String("operator", r.RemoteAddr))
	return resetAnswer{h.Name, string(key)}, nil
}

// Interface guards
var _ caddy.AdminRouter = (*Admin)(nil)
