// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	for _, b := range []Ban{
		{Prefix: netip.MustParsePrefix("203.0.113.7/32"), Reason: "guessing: äöü", Source: "logins", Created: now, Expires: now.Add(time.Hour)},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Created: now},
		{Prefix: netip.MustParsePrefix("2001:db8::/64"), Reason: "again", Expires: now, Level: 3, Remembered: now.Add(time.Hour)},
	} {
		line := string(b.AppendLine(nil))
		if got, err := ParseLine(line); err != nil || got != b {
			t.Errorf("%q is read as %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{
		"", "203.0.113.7/32", "203.0.113.7/32\t1\t0\tsource", "203.0.113.7/24\t1\t0\t\t", "203.0.113.7\t1\t0\t\t", "\t1\t0\t\t",
		"203.0.113.7/32\tx\t0\t\t", "203.0.113.7/32\t1\tx\t\t", "203.0.113.7/33\t1\t0\t\t", "::ffff:203.0.113.7/128\t1\t0\t\t",
		"203.0.113.7/32\t1\t0\t\t\tx\t0", "203.0.113.7/32\t1\t0\t\t\t1\tx", "203.0.113.7/32\t1\t0\t\t\t1",
	} {
		if ban, err := ParseLine(line); err == nil {
			t.Errorf("%q is read as %v", line, ban)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("203.0.113.7/32\t1\t0\tlogins\tguessing\t3\t99")
	f.Add("2001:db8::/64\t-1\t9223372036854775807\t\t")
	f.Fuzz(func(t *testing.T, line string) {
		b, err := ParseLine(line)
		if err != nil {
			return
		}
		if !b.Prefix.IsValid() || b.Prefix != b.Prefix.Masked() || b.Prefix.Addr().Is4In6() {
			t.Fatalf("%q bans %s", line, b.Prefix)
		}
		if again, err := ParseLine(string(b.AppendLine(nil))); err != nil || again != b {
			t.Fatalf("%q is %+v, and written and read again %+v, %v", line, b, again, err)
		}
	})
}
