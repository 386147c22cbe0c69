// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"flag"
	"fmt"
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

func TestStatus(t *testing.T) {
	failed := errors.New("it broke")
	for _, test := range []struct {
		parsing, doing error
		status         int
		said           string
	}{
		{},
		{parsing: flag.ErrHelp},
		{parsing: failed, status: 2, said: "bench: it broke\n"},
		{doing: failed, status: 1, said: "bench: it broke\n"},
		{doing: flag.ErrHelp}, // of a program within
	} {
		var said strings.Builder
		done := false
		status := Status("bench", &said, test.parsing, func() error { done = true; return test.doing })
		if status != test.status || said.String() != test.said || done != (test.parsing == nil) {
			t.Errorf("%v, %v: status %d, it says %q, done: %v", test.parsing, test.doing, status, said.String(), done)
		}
	}
}

func TestEachDoesAllAtOnce(t *testing.T) {
	met := make(chan int)
	err := Each([]int{1, 2}, func(n int) error {
		select { // each waits for the other one
		case met <- n:
		case <-met:
		}
		return fmt.Errorf("no %d", n)
	})
	if err == nil || err.Error() != "no 1\nno 2" {
		t.Errorf("got %v", err)
	}
}
