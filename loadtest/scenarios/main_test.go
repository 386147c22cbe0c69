// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
	"github.com/gatehouse-proxy/gatehouse/loadtest/lab/labtest"
)

func TestParse(t *testing.T) {
	labtest.Parse(t, parse, []labtest.CommandLine[settings]{
		{Check: func(s settings) bool {
			return s.scale == 1 && !strings.Contains(lab.Names(s.scenarios), "soak") && len(s.scenarios) == len(scenarios())-2
		}},
		{Short: "1", Check: func(s settings) bool { return s.scale == shortScale }},
		{Line: "-scale 0.5", Short: "1", Check: func(s settings) bool { return s.scale == 0.5 }},
		{Line: "bans soak", Check: func(s settings) bool { return lab.Names(s.scenarios) == "soak,bans" }},
		{Line: "-scale 0", Want: "-scale: 0 is not between"},
		{Line: "fire", Want: `"fire" is none of smoke,`},
	})
}

// Every script has its line in the table and every line its script and configuration.
func TestScenariosAreWhole(t *testing.T) {
	const folder = "../k6"
	scripts, err := filepath.Glob(filepath.Join(folder, "*.js"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
		for _, file := range []string{s.name + ".js", s.caddyfile} {
			if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
				t.Error(err)
			}
		}
		text, err := os.ReadFile(filepath.Join(folder, s.name+".js"))
		if err != nil {
			continue
		}
		if !strings.Contains(string(text), "summary('"+s.name+"')") {
			t.Errorf("%s.js does not name its summary", s.name)
		}
	}
	for _, script := range scripts {
		if name := strings.TrimSuffix(filepath.Base(script), ".js"); !slices.Contains(names, name) {
			t.Errorf("%s is not in the table", script)
		}
	}
}

func TestMissing(t *testing.T) {
	s := scenario{needs: []string{"http.handlers.a", "http.handlers.b"}}
	if got := s.missing([]string{"http.handlers.b"}); got != "http.handlers.a" {
		t.Errorf("got %q", got)
	}
	if got := s.missing(s.needs); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestAToolThatIsMissingIsSaidInOneLine(t *testing.T) {
	s, err := parse([]string{"-k6", t.TempDir() + "/no_such_generator"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	err = all(context.Background(), s, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "make load-tools") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}
