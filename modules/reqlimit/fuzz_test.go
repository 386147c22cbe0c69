// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dunglas/httpsfv"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// FuzzCaddyfile holds that a block either parses into a handler whose options are in their bounds, or is an error with a line.
func FuzzCaddyfile(f *testing.F) {
	for _, text := range []string{
		"100 1m", "logins", "5 1h {\n dry_run\n}", "a {\n window 1 1s\n cost \"1 + 2\"\n}", "a {\n window 1\n algorithm concurrency\n}",
		"a {\n window 0 1m\n}", "a {\n window 5 1m\n limits {x} {\n gold 1 1m\n gold unlimited\n}\n}",
		"a {\n window 5 1m\n ban after 3 in 10m for 1h\n charge_on 401 4xx\n allow ::/0\n}", "a {\n window 99999999999 1s\n}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := new(Handler)
		d := caddyfile.NewTestDispenser("request_limit " + text)
		err := h.UnmarshalCaddyfile(d)
		if err != nil {
			if strings.Contains(err.Error(), "\x00") {
				t.Fatalf("the error has a NUL: %q", err)
			}
			return
		}
		h.fillIn()
		if err := h.check(); err != nil {
			t.Fatalf("what was parsed is wrong once its defaults are filled in: %v", err)
		}
		if _, err := h.newRules(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzHeaders holds that what clients are told parses as RFC 9651 says, whatever the policy and the counts.
func FuzzHeaders(f *testing.F) {
	f.Add("logins", int64(5), int64(60), int64(3), int64(7), uint8(2), false)
	f.Add("100/1m", int64(1), int64(1), int64(0), int64(0), uint8(8), true)
	f.Fuzz(func(t *testing.T, name string, limit, period, remaining, reset int64, n uint8, inFlight bool) {
		windows := make([]window.Window, n%window.MaxWindows+1)
		states := make([]window.State, len(windows))
		algorithm := Sliding
		for i := range windows {
			windows[i] = window.Window{Limit: 1 + abs(limit)%window.MaxLimit, Period: window.MinPeriod + time.Duration(abs(period))%window.MaxPeriod}
			if inFlight {
				windows[i].Period, algorithm = 0, Concurrency
			}
			states[i] = window.State{Remaining: abs(remaining) % (windows[i].Limit + 1), Reset: time.Duration(abs(reset)) % window.MaxPeriod}
		}
		if !validName(name) {
			return
		}
		policies, err := httpsfv.UnmarshalList([]string{policyHeader(name, algorithm, windows)})
		if err != nil || len(policies) != len(windows) {
			t.Fatalf("RateLimit-Policy %q: %v", policyHeader(name, algorithm, windows), err)
		}
		value := string(appendLimit(nil, quotaNames(name, windows), windows, states))
		limits, err := httpsfv.UnmarshalList([]string{value})
		if err != nil || len(limits) != len(windows) {
			t.Fatalf("RateLimit %q: %v", value, err)
		}
		result := window.Result{Violated: 0, Retry: states[0].Reset}
		copy(result.States[:], states)
		rule := window.NewRule(windows...)
		retry := retryAfter(&rule, &result)
		for i, state := range states {
			if state.Remaining == 0 && retry < seconds(state.Reset) || retry < 1 || i == 0 && retry < seconds(result.Retry) {
				t.Fatalf("Retry-After %d with %+v", retry, state)
			}
		}
		header := http.Header{}
		setLegacy(header, windows, states)
		setLegacy(header, windows, states)
	})
}

func abs(n int64) int64 { return max(n, -(n + 1)) }

// FuzzClientKey holds that a key is bounded and never empty, that one client has one key however its address is written, and
// that an IPv6 client cannot choose another key in its network.
func FuzzClientKey(f *testing.F) {
	f.Add("203.0.113.7", "{client_ip}", "x")
	f.Add("::ffff:203.0.113.7", "{http.vars.client_ip}", "")
	f.Add("2001:db8::1%eth0", "a{client_ip}b{http.request.header.X-Key}", strings.Repeat("k", 1000))
	f.Add("@", "{http.request.header.X-Key}", "")
	f.Fuzz(func(t *testing.T, client, template, header string) {
		k := newKey(template, 64)
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Key"] = []string{header}
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
		caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, client)
		got := string(k.appendTo(nil, r))
		if len(got) == 0 || len(got) > maxKey {
			t.Fatalf("the key has %d bytes", len(got))
		}
		addr, err := netip.ParseAddr(client)
		if err != nil || !k.onlyClient() {
			return
		}
		if named, err := k.named(client); err != nil || string(named) != got {
			t.Fatalf("an operator who names %q finds %q, not %q: %v", client, named, got, err)
		}
		if addr = addr.Unmap().WithZone(""); addr.Is6() {
			bytes := addr.As16()
			bytes[15] ^= 0xff
			caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, netip.AddrFrom16(bytes).String())
			if other := string(k.appendTo(nil, r)); other != got {
				t.Fatalf("%s and its neighbour have the keys %q and %q", addr, got, other)
			}
		}
	})
}
