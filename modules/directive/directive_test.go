// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package directive_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	_ "github.com/gatehouse-proxy/gatehouse/modules/gatehousetest" // Caddy's standard modules, for guests
)

// sample has an option of each kind.
type sample struct {
	window caddy.Duration
	tags   []string
	dryRun bool
	guest  json.RawMessage
}

func (s *sample) parse(d *caddyfile.Dispenser) error {
	d.Next()
	return directive.Block(d, directive.Options{
		"window":  func() error { return directive.Arg(d, &s.window, directive.PositiveDuration) },
		"tag":     func() error { return directive.Args(d, &s.tags, directive.Word) },
		"dry_run": func() error { return directive.Flag(d, &s.dryRun) },
		"policy": func() error {
			return directive.Guest(d, "http.reverse_proxy.selection_policies", "policy", &s.guest)
		},
	}, "tag")
}

func TestBlock(t *testing.T) {
	var s sample
	d := caddyfile.NewTestDispenser("sample {\n window 1d\n tag a b\n tag c\n dry_run\n policy header X-K {\n fallback first\n }\n}")
	if err := s.parse(d); err != nil {
		t.Fatal(err)
	}
	if s.window != caddy.Duration(24*time.Hour) || strings.Join(s.tags, "") != "abc" || !s.dryRun {
		t.Fatalf("parsed %+v", s)
	}
	want := `{"fallback":{"policy":"first"},"field":"X-K","policy":"header"}`
	if string(s.guest) != want {
		t.Fatalf("guest is %s, want %s", s.guest, want)
	}
}

func TestBlockErrorsSayWhereAndWhatWasExpected(t *testing.T) {
	tests := map[string][]string{ // what follows `sample {` -> parts of the error
		"windw 1s":             {`"windw"`, "expected one of: dry_run, policy, tag, window", "Testfile:2"},
		"window 1s\nwindow 2s": {`"window" is given twice`, "Testfile:3"},
		"window":               {"window: expected a value", "Testfile:2"},
		"window soon":          {"window: expected a duration such as 250ms", `found "soon"`, "Testfile:2"},
		"window 0s":            {"above zero"},
		"window -1s":           {"expected a duration"},
		"window 1s 2s":         {`unexpected argument "2s"`},
		"tag":                  {"tag: expected at least one value"},
		`tag ""`:               {"found an empty string"},
		"dry_run yes":          {`unexpected argument "yes"`},
		"policy":               {"policy: expected a name; this build has:", "least_conn"},
		"policy nosuch":        {`"nosuch" is not in this build, which has:`, "least_conn", "Testfile:2"},
	}
	for input, parts := range tests {
		t.Run(input, func(t *testing.T) {
			var s sample
			err := s.parse(caddyfile.NewTestDispenser("sample {\n" + input + "\n}"))
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
		})
	}
}

func TestNoBlock(t *testing.T) {
	d := caddyfile.NewTestDispenser("sample {\n x\n}")
	d.Next()
	if err := directive.NoBlock(d); err == nil || !strings.Contains(err.Error(), `found "x"`) {
		t.Fatalf("got %v", err)
	}
	d = caddyfile.NewTestDispenser("sample")
	d.Next()
	if err := directive.NoBlock(d); err != nil {
		t.Fatal(err)
	}
}

// reject fails the test unless parse rejects every value with a message that quotes it.
func reject[T any](t *testing.T, parse func(string) (T, error), values ...string) {
	t.Helper()
	for _, value := range values {
		if got, err := parse(value); err == nil {
			t.Errorf("%q was accepted as %v", value, got)
		} else if value != "" && !strings.Contains(err.Error(), fmt.Sprintf("%q", value)) {
			t.Errorf("the error for %q does not quote it: %v", value, err)
		}
	}
}

func accept[T comparable](t *testing.T, parse func(string) (T, error), value string, want T) {
	t.Helper()
	if got, err := parse(value); err != nil || got != want {
		t.Errorf("%q gives %v, %v; want %v", value, got, err, want)
	}
}

func TestValues(t *testing.T) {
	accept(t, directive.Duration, "0s", 0)
	accept(t, directive.Duration, "7d", caddy.Duration(7*24*time.Hour))
	reject(t, directive.Duration, "", "-1s", "10", "x")

	accept(t, directive.Integer(1, 10), "10", 10)
	reject(t, directive.Integer(1, 10), "", "0", "11", "1.5", "x", "99999999999999999999")

	accept(t, directive.Number(1, 2), "1.25", 1.25)
	reject(t, directive.Number(1, 2), "", "0.9", "2.1", "NaN", "Inf", "1e999", "x")

	accept(t, directive.Size, "256MiB", int64(256<<20))
	accept(t, directive.Size, "4GB", int64(4e9))
	accept(t, directive.Size, "1.5GiB", int64(3<<29))
	reject(t, directive.Size, "", "0", "0MiB", "100", "1.5", " 256", "256 ", "1 MiB", "-1MiB", "MiB", "1,024KB", "99999999TiB", "x")

	accept(t, directive.OneOf("local", "open"), "open", "open")
	reject(t, directive.OneOf("local", "open"), "", "closed")
}

func TestPrefix(t *testing.T) {
	for value, want := range map[string]string{
		"203.0.113.7":            "203.0.113.7/32",
		"203.0.113.7/24":         "203.0.113.0/24",
		"::ffff:203.0.113.7":     "203.0.113.7/32",
		"::ffff:203.0.113.7/120": "203.0.113.0/24",
		"2001:DB8::1":            "2001:db8::1/128",
		"2001:db8::1/32":         "2001:db8::/32",
		"::/0":                   "::/0",
	} {
		accept(t, directive.Prefix, value, netip.MustParsePrefix(want))
	}
	reject(t, directive.Prefix, "", "203.0.113", "203.0.113.7/33", "fe80::1%eth0", "::ffff:203.0.113.7/95", "localhost", "1.2.3.4:80")
}

func FuzzPrefix(f *testing.F) {
	for _, seed := range []string{"203.0.113.7", "::ffff:1.2.3.4/97", "fe80::1%x", "::/0", "1.2.3.4/-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := directive.Prefix(s)
		if err != nil {
			return
		}
		if p != p.Masked() || p.Addr().Is4In6() || !p.IsValid() {
			t.Fatalf("%q gave %v, which is not canonical", s, p)
		}
		if again, err := directive.Prefix(p.String()); err != nil || again != p {
			t.Fatalf("%q gave %v, which reads back as %v, %v", s, p, again, err)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, seed := range []string{"1MiB", "1e3MB", "0.5KiB", "18446744073709551615", "1,024KB"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := directive.Size(s); err == nil && v <= 0 {
			t.Fatalf("%q gave %d bytes", s, v)
		}
	})
}
