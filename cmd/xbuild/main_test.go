// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestFindManifest(t *testing.T) {
	folder := t.TempDir()
	deep := filepath.Join(folder, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := findManifest(deep); err == nil || !strings.Contains(err.Error(), "--manifest") {
		t.Errorf("error without a manifest is %v, want one that names --manifest", err)
	}
	want := filepath.Join(folder, manifestName)
	if err := os.WriteFile(want, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{folder, deep} {
		if got, err := findManifest(from); err != nil || got != want {
			t.Errorf("from %s: got %q and error %v, want %s", from, got, err, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(folder))
	if got := describe(t.Context(), folder); got != developmentVersion {
		t.Errorf("outside Git the version is %q, want %s", got, developmentVersion)
	}

	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "first")
	if got := describe(t.Context(), folder); !regexp.MustCompile(`^[0-9a-f]{7,}$`).MatchString(got) {
		t.Errorf("on a commit without tag the version is %q, want its hash", got)
	}
	git("tag", "-a", "-m", "first", "v1.2.3")
	if got := describe(t.Context(), folder); got != "v1.2.3" {
		t.Errorf("on a tag the version is %q, want v1.2.3", got)
	}
}

func TestRunRefuses(t *testing.T) {
	if err := run(t.Context(), []string{"extra"}); err == nil || !strings.Contains(err.Error(), `unexpected argument "extra"`) {
		t.Errorf("error for an argument is %v", err)
	}
	if err := run(t.Context(), []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error for -h is %v, want flag.ErrHelp", err)
	}
}

// A build that was interrupted leaves neither a binary nor a temporary folder.
func TestRunStopsWithItsContext(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	output := filepath.Join(t.TempDir(), "gatehouse")
	err := run(ctx, []string{"--output", output, "--version", "v0.0.0-test"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
	if _, err := os.Stat(output); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking for the binary gave %v, want that it does not exist", err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("the temporary folder holds %v (error %v), want nothing", left, err)
	}
}
