// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scenarios.json")
	if err := os.WriteFile(file, []byte(`{"scenarios": [{"name": "mine", "load": 0.5, "duration": "10s", "servers": [{"count": 3}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	env := map[string]string{"SCENARIOS": file, "SEEDS": "4, 5", "POLICIES": "least_response_time,random"}
	missed, err := run(&out, func(k string) string { return env[k] })
	if err != nil || missed != 0 {
		t.Fatalf("missed %d, error %v", missed, err)
	}
	for _, want := range []string{"Seeds [4 5]", "## mine", "\noracle ", "\nrandom ", "\nleast_response_time "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\nround_robin ") {
		t.Errorf("a policy that was not asked for is in\n%s", out.String())
	}
}

func TestRunRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"scenarios": [{"name": "x", "lode": 1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"seed":   {map[string]string{"SEEDS": "1,two"}, "SEEDS=1,two"},
		"set":    {map[string]string{"SET": "mine"}, "neither heldout nor tuning"},
		"file":   {map[string]string{"SCENARIOS": "/no/such/file"}, "no such file"},
		"field":  {map[string]string{"SCENARIOS": bad}, `unknown field "lode"`},
		"policy": {map[string]string{"POLICIES": "best"}, `there is no "best"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := run(new(strings.Builder), func(k string) string { return test.env[k] })
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}
