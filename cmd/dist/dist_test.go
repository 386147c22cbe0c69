// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestDebianVersion(t *testing.T) {
	for in, want := range map[string]string{
		"v1.2.3":                    "1.2.3",
		"v1.2.3-rc.1":               "1.2.3~rc.1",
		"v1.2.3-4-gdf1586a":         "1.2.3+4.gdf1586a",
		"v1.2.3-rc.1-4-gdf1586a":    "1.2.3~rc.1+4.gdf1586a",
		"v1.2.3-4-gdf1586a-dirty":   "1.2.3+4.gdf1586a+dirty",
		"df1586a":                   "0~df1586a",
		"1586adf-dirty":             "0~1586adf+dirty",
		"v0.0.0-dev":                "0.0.0~dev",
		"v1.0.0-alpha-1-gabc-dirty": "1.0.0~alpha+1.gabc+dirty",
	} {
		if got := debianVersion(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join("..", ".."))
	for want, args := range map[string][]string{
		"is not empty":          {"-out", full, "-targets", "linux/amd64"},
		"such as linux/amd64":   {"-out", t.TempDir(), "-targets", "linux"},
		"expected letters":      {"-out", t.TempDir(), "-version", "v1 2"},
		"building for linux/no": {"-out", t.TempDir(), "-targets", "linux/no"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", args, err, want)
		}
	}
	t.Chdir(t.TempDir())
	if err := run(t.Context(), nil, io.Discard); err == nil || !strings.Contains(err.Error(), "root of the source") {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestEpoch(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if at, err := epoch(t.Context()); err != nil || at != time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC) {
		t.Errorf("%v, %v", at, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := epoch(t.Context()); err == nil || !strings.Contains(err.Error(), `"yesterday"`) {
		t.Errorf("got %v", err)
	}
}

// TestLicensesAreNeeded holds that no module goes into a package without its license.
func TestLicensesAreNeeded(t *testing.T) {
	if _, err := legalTexts(t.TempDir()); err == nil {
		t.Error("a module without a license passes")
	}
	if _, err := licenses(context.Background(), []debug.Module{{Path: "example.com/none", Version: "v1.0.0"}}); err == nil {
		t.Error("a module that is not there passes")
	}
	folder := t.TempDir()
	for name, text := range map[string]string{"LICENSE.txt": "a\r\nb\n", "License": "a\nb", "NOTICE": "n", "license.go": "package x"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	texts, err := legalTexts(folder)
	if err != nil || strings.Join(texts, "|") != "a\nb|n" {
		t.Errorf("%q, %v", texts, err)
	}
}

func TestCycloneDX(t *testing.T) {
	b := binary{target: host(), info: &debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main:      debug.Module{Path: "example.com/proxy"},
		Deps: []*debug.Module{
			{Path: "example.com/z", Version: "v2.0.0+incompatible", Sum: "h1:z="},
			{Path: "example.com/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/b", Version: "v1.1.0", Sum: "h1:b="}},
		},
	}}
	got := cycloneDX("v3.0.0", time.Unix(0, 0).UTC(), b)
	var urls []string
	for _, c := range append([]component{got.Metadata.Component}, got.Components...) {
		urls = append(urls, c.URL)
	}
	want := "pkg:golang/example.com/proxy@v3.0.0 pkg:golang/std@1.26.8 pkg:golang/example.com/b@v1.1.0 " +
		"pkg:golang/example.com/z@v2.0.0%2Bincompatible"
	if strings.Join(urls, " ") != want {
		t.Errorf("got %q, want %s", urls, want)
	}
}

// TestTreeIsTheSameAgain writes an archive twice; maps have another order each time.
func TestTreeIsTheSameAgain(t *testing.T) {
	content := tree{}
	for _, name := range []string{"b", "a/b", "a/a/a", "c/d", "c.d", "a.b"} {
		content[name] = entry{0o644, []byte(name)}
	}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := content.under("x").tarGz(b, "./", time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same files differ")
	}
}
