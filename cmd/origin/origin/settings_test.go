// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettingsDefaults(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	w := do(t, l, "GET", "/_origin/settings", "")
	wantStatus(t, w, http.StatusOK)
	want := `{"latency":"none","error_rate":0,"error_status":500,"workers":0,"stall":"0s","stall_rate":1,` +
		`"freeze":"0s","reset_after_effect_rate":0,"truncate_rate":0,"unhealthy":false}` + "\n"
	if got := w.Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// What GET tells, PUT takes.
	wantStatus(t, do(t, l, "PUT", "/_origin/settings", want), http.StatusOK)
}

func TestSettingsPutReplacesPatchMerges(t *testing.T) {
	l := newListener(t, Options{}, Settings{Latency: "const:1ms", Workers: 4})
	wantStatus(t, do(t, l, "PATCH", "/_origin/settings", `{"error_rate":0.25,"stall":"2s"}`), http.StatusOK)
	s := l.Settings()
	if s.Latency != "const:1ms" || s.Workers != 4 || s.ErrorRate != 0.25 || s.Stall != Duration(2*time.Second) {
		t.Fatalf("after PATCH: %+v", s)
	}
	w := do(t, l, "PUT", "/_origin/settings", `{"latency":"exp:2ms"}`)
	wantStatus(t, w, http.StatusOK)
	want := Settings{Latency: "exp:2ms", ErrorStatus: 500, StallRate: 1}
	if got := decode[Settings](t, w.Body); got != want || l.Settings() != want {
		t.Fatalf("after PUT: %+v, %+v", got, l.Settings())
	}
}

func TestSettingsRefused(t *testing.T) {
	for _, test := range []struct{ body, problem string }{
		{``, "want a JSON object"},
		{`null`, "want a JSON object"},
		{`[]`, "want a JSON object"},
		{`{`, "unexpected EOF"},
		{`{} {}`, "more than one"},
		{`{"latencies":"none"}`, `unknown field "latencies"`},
		{`{"latency":"5ms"}`, "unknown distribution"},
		{`{"latency":5}`, "latency: a number does not fit"},
		{`{"workers":1.5}`, "workers: a number 1.5 does not fit"},
		{`{"workers":-1}`, "workers: -1 is outside"},
		{`{"workers":10001}`, "outside"},
		{`{"error_rate":1.01}`, "error_rate: 1.01 is outside 0 to 1"},
		{`{"error_rate":-0.1}`, "outside 0 to 1"},
		{`{"stall_rate":2}`, "stall_rate"},
		{`{"reset_after_effect_rate":2}`, "reset_after_effect_rate"},
		{`{"truncate_rate":2}`, "truncate_rate"},
		{`{"error_status":200}`, "error_status: 200 is outside 400 to 599"},
		{`{"stall":"soon"}`, `bad duration "soon"`},
		{`{"stall":"11m"}`, "stall: duration 11m0s is outside"},
		{`{"freeze":"-1s"}`, "freeze: duration -1s is outside"},
		{`{"latency":"` + strings.Repeat("x", maxSettingsBody) + `"}`, "too large"},
	} {
		for _, method := range []string{"PUT", "PATCH"} {
			t.Run(method+" "+test.body[:min(40, len(test.body))], func(t *testing.T) {
				before := Settings{Latency: "const:1ms", ErrorStatus: 503, StallRate: 0.5}
				l := newListener(t, Options{}, before)
				w := do(t, l, method, "/_origin/settings", test.body)
				if w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
					t.Fatalf("status %d", w.Code)
				}
				if text := w.Body.String(); !strings.Contains(text, test.problem) || strings.Count(text, "\n") != 1 {
					t.Errorf("message %q, want one line with %q", text, test.problem)
				}
				if l.Settings() != before {
					t.Errorf("settings changed to %+v", l.Settings())
				}
			})
		}
	}
}

func TestSettingsNaN(t *testing.T) {
	if _, err := New(Settings{ErrorRate: math.NaN()}); err == nil {
		t.Error("NaN passed for a rate")
	}
}

// TestSettingsBelongToOneListener: a change of one leaves the others of the App alone.
func TestSettingsBelongToOneListener(t *testing.T) {
	app := NewApp(Options{})
	a, err := app.Listener("a", Settings{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := app.Listener("b", Settings{})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, do(t, a, "PUT", "/_origin/settings", `{"error_rate":1,"error_status":502}`), http.StatusOK)
	wantStatus(t, do(t, a, "GET", "/", ""), http.StatusBadGateway)
	wantStatus(t, do(t, b, "GET", "/", ""), http.StatusOK)
}

// TestSettingsPatchAtOnce: no PATCH undoes another one of a different field.
func TestSettingsPatchAtOnce(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	var all sync.WaitGroup
	for format, read := range map[string]func(Settings) int{
		`{"workers":%d}`:      func(s Settings) int { return s.Workers },
		`{"error_status":%d}`: func(s Settings) int { return s.ErrorStatus },
		`{"stall":"%dns"}`:    func(s Settings) int { return int(s.Stall) },
	} {
		all.Go(func() {
			last := read(l.Settings())
			for i := range 1000 {
				if now := read(l.Settings()); now != last { // undone since it was set
					t.Errorf("%s: %d became %d", format, last, now)
					return
				}
				last = 400 + i%200
				if err := l.change(true, fmt.Appendf(nil, format, last)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestFreezeIsReportedAsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{}, Settings{Freeze: Duration(5 * time.Second)})
		time.Sleep(2 * time.Second) // in a bubble
		if left := time.Duration(l.Settings().Freeze); left != 3*time.Second {
			t.Errorf("left %s", left)
		}
		// Another setting leaves the freeze where it was.
		wantStatus(t, do(t, l, "PATCH", "/_origin/settings", `{"workers":2}`), http.StatusOK)
		time.Sleep(time.Second)
		if left := time.Duration(l.Settings().Freeze); left != 2*time.Second {
			t.Errorf("left %s", left)
		}
		time.Sleep(time.Minute)
		if left := time.Duration(l.Settings().Freeze); left != 0 {
			t.Errorf("left %s", left)
		}
	})
}

// FuzzDecodeSettings: no input panics, and what is accepted and within bounds survives being written and read again.
func FuzzDecodeSettings(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"latency":"exp:1ms","stall":"1s"}`, `{"workers":1e3}`, `null`, `{"stall":null}`, `{"a":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := ParseSettings(body)
		if err != nil {
			return
		}
		if s, _, err = s.normalize(); err != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSettings(text)
		if err != nil || again != s {
			t.Fatalf("%s became %+v, %v", text, again, err)
		}
	})
}
