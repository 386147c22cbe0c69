// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVerdictOfWhatWasNotMeasured(t *testing.T) {
	for word, v := range map[string]Verdict{
		"met":          {Measured: 1, Met: true},
		"missed":       {Measured: 1},
		"not measured": {Measured: math.NaN()},
	} {
		if got := v.Word(); got != word {
			t.Errorf("%+v is %q, want %q", v, got, word)
		}
		if AllMet([]Verdict{v}) != (word == "met") {
			t.Errorf("%q counts wrongly", word)
		}
	}
}

func TestOriginSaysWhatItLacks(t *testing.T) {
	text := Origin{Missing: []string{"nginx is left out."}, Short: true}.String()
	for _, want := range []string{"- nginx is left out.\n", "- A short run", "did not come to its end"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if text := (Origin{Whole: true}).String(); strings.Contains(text, "short") || strings.Contains(text, "its end") {
		t.Errorf("a whole run says %q", text)
	}
}

func TestTool(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gatehouse_load_generator")
	if _, err := Tool(file); err == nil || !strings.Contains(err.Error(), "make load-tools") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(file, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := Tool(file); err != nil || got != file {
		t.Errorf("got %q, %v", got, err)
	}
}
