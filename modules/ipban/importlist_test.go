// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"fmt"
	"strings"
	"testing"
)

func TestReadList(t *testing.T) {
	const text = "\ufeff# a list\r\n203.0.113.7\r\n\r\n  198.51.100.9/24  # a network\n2001:db8::/32#tight\n::ffff:192.0.2.1\n\t\n; a mark\n10.0.0.0/8 ; SBL1"
	prefixes, err := readList(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(prefixes), "[203.0.113.7/32 198.51.100.0/24 2001:db8::/32 192.0.2.1/32 10.0.0.0/8]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadListErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"one":           {"203.0.113.7\nnonsense\n", `line 2: expected an IP address or CIDR such as 203.0.113.7 or 2001:db8::/32, found "nonsense"`},
		"all are named": {"a\n203.0.113.7\n\nb\n", `line 4:`},
		"two on a line": {"203.0.113.7 203.0.113.8", `line 1:`},
		"too long":      {"# short\n" + strings.Repeat("x", 70_000), "line 2: bufio.Scanner: token too long"},
		"zone":          {"fe80::1%eth0", "line 1:"},
	} {
		t.Run(name, func(t *testing.T) {
			prefixes, err := readList(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || prefixes != nil {
				t.Errorf("got %v, %v, want %q", prefixes, err, c.want)
			}
		})
	}
	_, err := readList(strings.NewReader(strings.Repeat("x\n", 1000)))
	if n := strings.Count(err.Error(), "line "); n != maxListErrors {
		t.Errorf("%d lines are named, want %d", n, maxListErrors)
	}
}

// Whatever the list, each prefix that is read is one that can be banned, and reads back as it is shown.
func FuzzReadList(f *testing.F) {
	for _, seed := range []string{"203.0.113.7\n# c\n10.0.0.0/8 # x", "::1/128", "::ffff:1.2.3.4/120", "\ufeff1.2.3.4", "1.2.3.4/33", "\x00", "#", "1.2.3.4;x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		prefixes, err := readList(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") || prefixes != nil {
				t.Fatalf("%q: %v, %v", text, prefixes, err)
			}
			return
		}
		var again strings.Builder
		for _, p := range prefixes {
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
				t.Fatalf("%q bans %s", text, p)
			}
			again.WriteString(shown(p) + "\n")
		}
		if read, err := readList(strings.NewReader(again.String())); err != nil || fmt.Sprint(read) != fmt.Sprint(prefixes) {
			t.Fatalf("%q: %v reads back as %v, %v", text, prefixes, read, err)
		}
	})
}
