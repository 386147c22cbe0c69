// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const (
	minute = caddy.Duration(time.Minute)
	hour   = caddy.Duration(time.Hour)
	day    = caddy.Duration(24 * time.Hour)
)

func parseRule(text string) (Rule, error) {
	d := caddyfile.NewTestDispenser(text)
	d.Next()
	var r Rule
	return r, r.UnmarshalCaddyfile(d)
}

func TestRuleOnALineAndInABlock(t *testing.T) {
	for text, want := range map[string]Rule{
		"ban after 3 in 10m for 1h": {After: 3, In: 10 * minute, For: hour},
		"ban for 1h after 3 in 10m": {After: 3, In: 10 * minute, For: hour},
		"ban after 3 in 10m for 1h escalate x4 24h forget 7d": {
			After: 3, In: 10 * minute, For: hour, Escalate: 4, Longest: day, Forget: 7 * day,
		},
		"ban {\n after 3 in 10m\n for 1h\n}": {After: 3, In: 10 * minute, For: hour},
		"ban {\n after 3 in 10m\n for 1h\n escalate x1.5 24h\n forget 7d\n}": {
			After: 3, In: 10 * minute, For: hour, Escalate: 1.5, Longest: day, Forget: 7 * day,
		},
	} {
		if got, err := parseRule(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestRuleErrorsSayWhereAndWhatWasExpected(t *testing.T) {
	for text, parts := range map[string][]string{
		"ban":                                          {"expected both of after and for", "Testfile:1"},
		"ban {\n}":                                     {"expected both of after and for"},
		"ban after 3 in 10m":                           {"expected both of after and for, as in: after 3 in 10m for 1h"},
		"ban for 1h":                                   {"expected both of after and for"},
		"ban after":                                    {"after: expected a value"},
		"ban after 0 in 10m for 1h":                    {"after: expected a whole number from 1 to 10000", `found "0"`},
		"ban after 3":                                  {"after: expected a value"},
		"ban after 3 within 10m for 1h":                {"after: expected one of in", `found "within"`},
		"ban after 3 in 0s for 1h":                     {"after ... in: expected a duration above zero"},
		"ban after 3 in 10m for 0s":                    {"for: expected a duration above zero"},
		"ban after 3 in 10m for 1us":                   {"for: expected a duration of at least 1ms"},
		"ban after 3 in 10m for 1h for 2h":             {`"for" is given twice`},
		"ban after 3 in 10m for 1h x":                  {`unexpected "x"; expected one of: after, escalate, for, forget`},
		"ban after 3 in 10m for 1h escalate 4 24h":     {"escalate: expected a factor such as x4", `found "4"`},
		"ban after 3 in 10m for 1h escalate x0.5 24h":  {"escalate: expected a number from 1 to 1000"},
		"ban after 3 in 10m for 1h escalate x4":        {"escalate x4: expected a value"},
		"ban after 3 in 10m for 1h escalate x4 30m":    {"the longest ban, 30m0s, is shorter than the first, 1h0m0s"},
		"ban after 3 in 10m for 1h forget 7d":          {"mean nothing without escalate"},
		"ban after 3 in 10m for 1h {\n for 2h\n}":      {"expected no block", "Testfile:2"},
		"ban {\n after 3 in 10m\n for 1h x\n}":         {`unexpected argument "x"`, "Testfile:3"},
		"ban {\n after 3 in 10m\n for 1h\n for 2h\n}":  {`"for" is given twice`, "Testfile:4"},
		"ban {\n after 3 in 10m\n for 1h\n until x\n}": {`unrecognized option "until"`, "after, escalate, for, forget", "Testfile:4"},
	} {
		_, err := parseRule(text)
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: error %q lacks %q", text, err, part)
			}
		}
	}
}

func FuzzRule(f *testing.F) {
	f.Add("ban after 3 in 10m for 1h escalate x4 24h forget 7d")
	f.Add("ban {\n after 3 in 10m\n for 1h\n escalate x1e3 290y\n}")
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := parseRule(text)
		if err != nil {
			return
		}
		before := time.Duration(0)
		for level := range 70 {
			lasts := rule.lasts(level)
			if lasts < before || lasts < time.Duration(rule.For) || rule.Escalate != 0 && lasts > time.Duration(rule.Longest) {
				t.Fatalf("%q: ban %d lasts %s, the one before %s", text, level+1, lasts, before)
			}
			before = lasts
		}
		again, err := parseRule("ban " + rule.String())
		if err != nil || again.String() != rule.String() {
			t.Fatalf("%q is written %q, which gives %v, %v", text, rule.String(), again, err)
		}
	})
}

func TestRuleEscalates(t *testing.T) {
	rule := Rule{After: 3, In: 10 * minute, For: hour, Escalate: 4, Longest: day}
	for before, want := range []time.Duration{time.Hour, 4 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		if got := rule.lasts(before); got != want {
			t.Errorf("after %d bans: %s, want %s", before, got, want)
		}
	}
	if got := rule.lasts(1 << 30); got != 24*time.Hour {
		t.Errorf("after very many: %s", got)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	client := ban(someone+"/32", 0).Prefix
	got := rule.ban(client, now, past{2, now.Add(time.Hour).UnixNano()}, "logins", "3 strikes in 10m0s")
	want := Ban{
		Prefix: client, Reason: "3 strikes in 10m0s", Source: "logins", Created: now, Expires: now.Add(16 * time.Hour),
		Level: 3, Remembered: now.Add(16*time.Hour + 7*24*time.Hour),
	}
	if got != want || got.Forgettable() != want.Remembered {
		t.Errorf("got %+v, want %+v", got, want)
	}
	plain := Rule{After: 3, In: 10 * minute, For: hour} // passes on what another rule remembers
	got = plain.ban(client, now, past{2, now.Add(3 * time.Hour).UnixNano()}, "other", "")
	if got.Level != 2 || !got.Remembered.Equal(now.Add(3*time.Hour)) || !got.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("a rule without escalate: %+v", got)
	}
}
