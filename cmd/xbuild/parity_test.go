// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testVersion = "v9.9.9-test"
	root        = "../.."

	// knownModule stands for all modules of Gatehouse: without it a binary is plain Caddy.
	knownModule = "http.handlers.ip_ban"

	buildTimeout = 20 * time.Minute // a cold cache on two cores takes three
	runTimeout   = 30 * time.Second
)

// output runs a command and returns what it prints on its standard output.
func output(t *testing.T, timeout time.Duration, dir string, env []string, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// The two ways to a binary must give the same proxy: users build by xcaddy, `make build` is `go build ./cmd/gatehouse`.
func TestParity(t *testing.T) {
	folder := t.TempDir()
	byXcaddy, plain := filepath.Join(folder, "xcaddy"), filepath.Join(folder, "plain")

	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	if err := run(ctx, []string{"--output", byXcaddy, "--version", testVersion}); err != nil {
		t.Fatal(err)
	}
	// MAKEFLAGS would bring the options of a make that runs this test.
	output(t, buildTimeout, root, []string{"MAKEFLAGS=", "MAKELEVEL=0"}, "make", "build", "BIN="+plain, "VERSION="+testVersion)

	t.Run("modules", func(t *testing.T) {
		compareModules(t, byXcaddy, plain, "list-modules", "--json")
	})
	t.Run("modules of ours", func(t *testing.T) {
		compareModules(t, byXcaddy, plain, "list-modules", "--json", "--skip-standard")
	})
	t.Run("commands and names", func(t *testing.T) {
		compareText(t, byXcaddy, plain, "help", "gatehouse [command]")
	})
	t.Run("version", func(t *testing.T) {
		compareText(t, byXcaddy, plain, "version", testVersion+" v2.")
	})
	t.Run("dependencies and build settings", func(t *testing.T) {
		compareBuildInfo(t, byXcaddy, plain)
	})
}

// compareModules fails unless both binaries list the same modules, ours among them.
func compareModules(t *testing.T, byXcaddy, plain string, args ...string) {
	t.Helper()
	lists := make(map[string][]string)
	for _, binary := range []string{byXcaddy, plain} {
		var modules []struct {
			Name string `json:"module_name"`
			Type string `json:"module_type"`
		}
		out := output(t, runTimeout, "", nil, binary, args...)
		if err := json.Unmarshal(out, &modules); err != nil {
			t.Fatalf("reading the modules of %s: %v\n%s", binary, err, out)
		}
		names := make([]string, len(modules))
		for i, module := range modules {
			names[i] = module.Type + " " + module.Name
		}
		slices.Sort(names)
		if len(names) == 0 {
			t.Errorf("%s lists no modules", binary)
		}
		if !slices.Contains(names, "non-standard "+knownModule) {
			t.Errorf("%s does not list %s", binary, knownModule)
		}
		lists[binary] = names
	}
	reportDifference(t, lists[byXcaddy], lists[plain])
}

// compareText fails unless both binaries print the same for a command, with want in it.
func compareText(t *testing.T, byXcaddy, plain, command, want string) {
	t.Helper()
	first := string(output(t, runTimeout, "", nil, byXcaddy, command))
	second := string(output(t, runTimeout, "", nil, plain, command))
	if !strings.Contains(first, want) {
		t.Errorf("%q does not print %q but\n%s", command, want, first)
	}
	reportDifference(t, strings.Split(first, "\n"), strings.Split(second, "\n"))
}

// compareBuildInfo fails unless both binaries were built with the same settings, and hold the same versions of all modules
// but ours, which is the main module of one and a dependency of the other.
func compareBuildInfo(t *testing.T, byXcaddy, plain string) {
	t.Helper()
	lists := make(map[string][]string)
	for _, binary := range []string{byXcaddy, plain} {
		info, err := buildinfo.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		var facts []string
		for _, dep := range info.Deps {
			if dep.Path != "github.com/gatehouse-proxy/gatehouse" {
				facts = append(facts, fmt.Sprintf("%s %s %s", dep.Path, dep.Version, dep.Sum))
			}
		}
		if len(facts) == 0 {
			t.Errorf("%s tells no dependencies", binary)
		}
		for _, setting := range info.Settings {
			// xcaddy builds in a folder that is no Git repository.
			if !strings.HasPrefix(setting.Key, "vcs") {
				facts = append(facts, "setting "+setting.Key+"="+setting.Value)
			}
		}
		for _, want := range []string{"setting CGO_ENABLED=0", "setting -trimpath=true"} {
			if !slices.Contains(facts, want) {
				t.Errorf("%s lacks the %s", binary, want)
			}
		}
		lists[binary] = facts
	}
	reportDifference(t, lists[byXcaddy], lists[plain])
}

// reportDifference tells the entries that only one of two lists has.
func reportDifference(t *testing.T, byXcaddy, plain []string) {
	t.Helper()
	for _, entry := range byXcaddy {
		if !slices.Contains(plain, entry) {
			t.Errorf("only in the build by xcaddy: %s", entry)
		}
	}
	for _, entry := range plain {
		if !slices.Contains(byXcaddy, entry) {
			t.Errorf("only in the build by go: %s", entry)
		}
	}
}
