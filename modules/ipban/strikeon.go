// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// StrikeOn bans clients by the answers that they get: each response with one of the statuses is a strike. Its bans' source
// is "strike_on" with the statuses; two of equal statuses and rule share the clients' strikes, on whatever sites they are.
type StrikeOn struct {
	// Statuses are status codes from 100 to 599, and classes of them: 4 is all from 400 to 499. At least one.
	// What counts is what the handlers after this one write or, if they return an error, the error's status.
	Statuses []int `json:"statuses,omitempty"`
	Rule
}

// policy names the rule in lists, metrics and logs.
func (s *StrikeOn) policy() string {
	var name strings.Builder
	name.WriteString("strike_on")
	for _, status := range s.Statuses {
		if status < 10 {
			fmt.Fprintf(&name, " %dxx", status)
		} else {
			fmt.Fprintf(&name, " %d", status)
		}
	}
	return name.String()
}

// counts reports whether a response is a strike.
func (s *StrikeOn) counts(status int) bool {
	for _, configured := range s.Statuses {
		if caddyhttp.StatusCodeMatches(status, configured) {
			return true
		}
	}
	return false
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. The dispenser stands on the option's name. Syntax, with the rule on the
// line or in a block:
//
//	strike_on <status...> after <n> in <duration> for <duration> [escalate x<factor> <longest>] [forget <duration>]
func (s *StrikeOn) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	option, clauses := d.Val(), s.clauses(d, nil)
	for d.NextArg() {
		if _, ok := clauses[d.Val()]; ok && len(s.Statuses) > 0 {
			return s.line(d, option)
		}
		var status int
		if err := directive.Value(d, option, &status, statusOrClass); err != nil {
			return err
		}
		s.Statuses = append(s.Statuses, status)
	}
	if len(s.Statuses) == 0 {
		return d.Errf("%s: expected a status, as in: %s 404 after 50 in 1m for 10m", option, option)
	}
	return s.block(d, option)
}

// statusOrClass accepts a status such as 404, or a class such as 4xx, which is its first digit.
func statusOrClass(text string) (int, error) {
	if digit, ok := strings.CutSuffix(text, "xx"); ok && len(digit) == 1 && digit >= "1" && digit <= "5" {
		return int(digit[0] - '0'), nil
	}
	status, err := strconv.Atoi(text)
	if err != nil || status < 100 || status > 599 {
		return 0, fmt.Errorf("expected a status such as 404, or a class such as 4xx, found %q", text)
	}
	return status, nil
}

// striking is a StrikeOn at work.
type striking struct {
	on      *StrikeOn
	striker *Striker
}

// provisionStrikes makes the strikers of the handler.
func (h *Handler) provisionStrikes(ctx caddy.Context) error {
	for i := range h.StrikeOn {
		on := &h.StrikeOn[i]
		if err := on.check(); err != nil {
			return fmt.Errorf("ip_ban: strike_on: %w", err)
		}
		striker, err := NewStriker(ctx, on.policy(), on.Rule, h.DryRun)
		if err != nil {
			return fmt.Errorf("ip_ban: strike_on: %w", err)
		}
		h.strikes = append(h.strikes, striking{on, striker})
	}
	return nil
}

// check says what is wrong with the option.
func (s *StrikeOn) check() error {
	if len(s.Statuses) == 0 {
		return errors.New("statuses: expected at least one")
	}
	for _, status := range s.Statuses {
		if status < 1 || status > 5 && status < 100 || status > 599 {
			return fmt.Errorf("statuses: expected 100 to 599, or 1 to 5 for a class, found %d", status)
		}
	}
	return s.Rule.check()
}

// serveStriking serves a request and counts what the answer says about its client, also if a handler panics: reverse_proxy
// does when the client leaves amid its answer, by which nobody is to get around being counted.
func (h *Handler) serveStriking(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	answer := &answerWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	returned := false
	defer func() {
		status := answer.outcome(returned, err)
		for _, s := range h.strikes {
			if s.on.counts(status) {
				s.striker.Strike(r)
			}
		}
	}()
	err = next.ServeHTTP(answer, r)
	returned = true
	return err
}

// answerWriter notes the status of an answer.
type answerWriter struct {
	caddyhttp.ResponseWriterWrapper
	status int // 0 until one is written
}

// WriteHeader implements http.ResponseWriter. Informational answers (RFC 9110 section 15.2) come before the one that counts,
// save 101, after which there is no other.
func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// outcome is the status that the client gets, after a handler that returned err. It is 0 if one panicked before it answered.
func (w *answerWriter) outcome(returned bool, err error) int {
	if w.status != 0 || !returned {
		return w.status
	}
	if err == nil {
		return http.StatusOK
	}
	var refused caddyhttp.HandlerError
	if errors.As(err, &refused) && refused.StatusCode != 0 {
		return refused.StatusCode
	}
	return http.StatusInternalServerError
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*StrikeOn)(nil)
	_ http.ResponseWriter   = (*answerWriter)(nil)
)
