// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
	"github.com/gatehouse-proxy/gatehouse/modules/decision"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// outcome is what becomes of a request. Its texts are metric labels and placeholder values.
type outcome int32

const (
	passed outcome = iota
	refused
	dryRun      // it would be refused, but for dry_run
	allowListed // the client is on the allow-list
	unlimitedBy // its entry in the table of limits is unlimited
	outcomes
)

func (o outcome) String() string {
	return [outcomes]string{"passed", "refused", "dry_run", "allow_listed", "unlimited"}[o]
}

// mode is what decided. Its texts are metric labels and placeholder values.
type mode int32

const (
	modeStore  mode = iota // the store, or nothing had to be counted
	modeLocal              // counts of this proxy, while the store is away
	modeOpen               // nobody: everybody passes while the store is away
	modeClosed             // nobody: everybody is refused while the store is away
	modes
)

func (m mode) String() string { return [modes]string{"store", "local", "open", "closed"}[m] }

// verdict is a decision and what it rests on.
type verdict struct {
	outcome outcome
	mode    mode
	decided bool // the scratch holds a result
	counted bool // and it was counted, in counters
	rule    *rule
	counter Counters
}

// scratch is what deciding needs, reused between requests.
type scratch struct {
	key    []byte
	ask    Ask
	result window.Result
	header []byte
}

var scratches = sync.Pool{New: func() any { return &scratch{key: make([]byte, 0, maxKey), header: make([]byte, 0, maxKey)} }}

func (s *scratch) release() {
	s.ask = Ask{}
	scratches.Put(s)
}

// judge decides on a request.
func (h *Handler) judge(r *http.Request, s *scratch) verdict {
	if h.allowed != nil {
		if addr, ok := clientaddr.Of(r); ok && h.allowed.Contains(addr) {
			return verdict{outcome: allowListed}
		}
	}
	rule := h.rules.of(r)
	if rule == nil {
		return verdict{outcome: unlimitedBy}
	}
	s.key = h.key.appendTo(s.key[:0], r)
	s.ask = Ask{Key: s.key, Rule: &rule.Rule, Cost: h.cost.of(r)}
	counter, m := h.counting.take(r.Context(), s, rule)
	v := conclude(rule, counter, m, &s.result, h.DryRun, h.CountDenied)
	v.counted = v.counted && s.ask.Cost > 0
	return v
}

// conclude turns what the counters said into a verdict.
func conclude(rule *rule, counter Counters, m mode, result *window.Result, dry, always bool) verdict {
	v := verdict{outcome: passed, mode: m, rule: rule, counter: counter}
	switch m {
	case modeOpen:
		return v
	case modeClosed:
		v.outcome = refused
	default:
		v.decided = true
		v.counted = result.Allowed || always
		if !result.Allowed {
			v.outcome = refused
		}
	}
	if v.outcome == refused && dry {
		v.outcome = dryRun
	}
	return v
}

// told is what one request is told by headers, placeholders and the access log.
type told struct {
	decision.Note
	handler   *Handler
	rule      *rule // nil without a decision by one
	remaining int64 // -1 if nothing was counted
	outcome   outcome
	mode      mode
	fields    [2]string // values of RateLimit and RateLimit-Policy: the answer's own, as a header directive changes them in place
}

// Tell implements decision.Teller.
func (t *told) Tell(i int) string {
	switch i {
	case 0:
		return t.outcome.String()
	case 1:
		return t.handler.Name
	case 2:
		if t.remaining >= 0 {
			return strconv.FormatInt(t.remaining, 10)
		}
	case 3:
		if t.rule != nil {
			return t.rule.class
		}
	case 4:
		if t.mode != modeStore {
			return t.mode.String()
		}
	}
	return ""
}

// tellOf tells what was decided.
func (h *Handler) tellOf(w http.ResponseWriter, r *http.Request, s *scratch, v *verdict) {
	t := &told{handler: h, rule: v.rule, remaining: -1, outcome: v.outcome, mode: v.mode}
	if v.decided {
		windows := v.rule.Windows
		t.remaining = s.result.States[scarcest(windows, s.result.States[:])].Remaining
		if !h.DryRun {
			h.setHeaders(w.Header(), s, v, t)
		}
	}
	keeps := dryRunStays
	if v.outcome != passed {
		keeps = nil
	}
	h.recorder.Attach(r, &t.Note, t, keeps)
}

// dryRunStays keeps what a dry run decided before a policy that let the request pass.
func dryRunStays(before decision.Teller) bool {
	t, ok := before.(*told)
	return ok && t.outcome == dryRun
}

// setHeaders sets the headers of an answer. Those of several policies stand beside each other, as items of one list.
func (h *Handler) setHeaders(header http.Header, s *scratch, v *verdict, t *told) {
	windows := v.rule.Windows
	if h.tell.standard {
		s.header = appendLimit(s.header[:0], v.rule.names, windows, s.result.States[:])
		t.fields = [2]string{string(s.header), v.rule.policy}
		if before := header[fieldRateLimit]; before == nil {
			header[fieldRateLimit], header[fieldPolicy] = t.fields[:1:1], t.fields[1:]
		} else {
			header[fieldRateLimit] = append(before[:len(before):len(before)], t.fields[0])
			policies := header[fieldPolicy]
			header[fieldPolicy] = append(policies[:len(policies):len(policies)], t.fields[1])
		}
	}
	if h.tell.legacy {
		setLegacy(header, windows, s.result.States[:])
	}
	if !s.result.Allowed {
		header["Retry-After"] = []string{strconv.FormatInt(retryAfter(s.ask.Rule, &s.result), 10)}
	}
}
