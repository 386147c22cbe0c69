// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"slices"
	"strings"
	"testing"
)

// A packed header gives back the lines that went in, of any length, in their order, and the key that stands before it.
func TestPackedHeader(t *testing.T) {
	for _, lines := range [][]headerField{
		nil,
		{{"A", ""}},
		{{"", ""}, {"", "x"}},
		{{"A", "1"}, {"A", "2"}, {"B", strings.Repeat("x", 127)}, {"C", strings.Repeat("y", 128)}, {"D", "4"}},
		{{strings.Repeat("N", 16_383), strings.Repeat("v", 16_384)}, {"E", strings.Repeat("\x00\xff", 2<<20)}, {"F", "6"}},
	} {
		for _, key := range []string{"", "https://example.com/?a=b\n\n/c"} {
			gotKey, packed := pack(key, lines)
			if gotKey != key {
				t.Errorf("key %q, want %q", gotKey, key)
			}
			if got := packed.fields(); !slices.Equal(got, lines) || packed.count() != len(lines) {
				t.Errorf("%d lines came back of %d", len(got), len(lines))
			}
			h := packed.header()
			for _, f := range lines {
				if packed.get(f.name) != fieldOf(lines, f.name) || !slices.Contains(h[f.name], f.value) {
					t.Errorf("%.20q is lost", f.name)
				}
			}
			if packed.get("Absent") != "" {
				t.Error("a field that is not there has a value")
			}
		}
	}
}

func FuzzPackedHeader(f *testing.F) {
	f.Add("key", "Etag", `"a"`, "Vary", "")
	f.Fuzz(func(t *testing.T, key, name1, value1, name2, value2 string) {
		lines := []headerField{{name1, value1}, {name2, value2}}
		gotKey, packed := pack(key, lines)
		if got := packed.fields(); gotKey != key || !slices.Equal(got, lines) {
			t.Fatalf("%q %q came back of %q %q", gotKey, got, key, lines)
		}
	})
}
