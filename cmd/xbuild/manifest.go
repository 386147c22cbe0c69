// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/xcaddy"
	"github.com/google/shlex"
	"golang.org/x/mod/modfile"
)

// versionVariable is what `gatehouse version` prints first.
const versionVariable = "github.com/caddyserver/caddy/v2.CustomVersion"

// versionPattern is what may be stamped in: nothing that a linker flag would need quotes for.
const versionPattern = `^[0-9A-Za-z][0-9A-Za-z.+_/-]*$`

// loadManifest reads file, which holds an xcaddy.Builder in its JSON form, and makes the paths in it absolute.
func loadManifest(file string) (xcaddy.Builder, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return xcaddy.Builder{}, fmt.Errorf("reading the manifest: %w", err)
	}
	builder, err := parseManifest(data)
	if err != nil {
		return xcaddy.Builder{}, fmt.Errorf("reading the manifest %s: %w", file, err)
	}
	folder, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return xcaddy.Builder{}, fmt.Errorf("finding the folder of %s: %w", file, err)
	}
	if err := resolveReplacements(builder.Replacements, folder); err != nil {
		return xcaddy.Builder{}, fmt.Errorf("reading the manifest %s: %w", file, err)
	}
	return builder, nil
}

// parseManifest decodes data strictly and checks what xcaddy would leave to chance: a version left out means the newest.
func parseManifest(data []byte) (xcaddy.Builder, error) {
	var builder xcaddy.Builder
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&builder); err != nil {
		return builder, explain(data, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return builder, fmt.Errorf("line %d: something follows the object", lineAt(data, decoder.InputOffset()))
	}

	if builder.CaddyVersion == "" {
		return builder, errors.New("caddy_version is missing")
	}
	if len(builder.Plugins) == 0 {
		return builder, errors.New("plugins is empty")
	}
	for i, plugin := range builder.Plugins {
		if plugin.PackagePath == "" || plugin.Version == "" {
			return builder, fmt.Errorf("plugins[%d] needs both module_path and version", i)
		}
	}
	for i, replacement := range builder.Replacements {
		if replacement.Old == "" || replacement.New == "" {
			return builder, fmt.Errorf("replacements[%d] needs both old and new", i)
		}
	}
	return builder, nil
}

// explain adds the line to an error of encoding/json, which tells only offsets, and of unknown fields not even those.
func explain(data []byte, err error) error {
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %w", lineAt(data, syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: %s is a JSON %s where %s is due: %w", lineAt(data, kind.Offset), kind.Field, kind.Value, kind.Type, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the object does not end: %w", err)
	}
	return err
}

// lineAt tells the line, counted from 1, of the byte at offset.
func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}

// resolveReplacements makes each local path absolute, taking it as relative to folder: xcaddy runs the go command
// elsewhere. The path must hold the module that it stands in for.
func resolveReplacements(replacements []xcaddy.Replace, folder string) error {
	for i, replacement := range replacements {
		path := replacement.New.String()
		if !isLocal(path) {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, filepath.FromSlash(path))
		}
		data, err := os.ReadFile(filepath.Join(path, "go.mod"))
		if err != nil {
			return fmt.Errorf("replacements[%d]: %q holds no Go module: %w", i, replacement.New, err)
		}
		if module := modfile.ModulePath(data); module != replacement.Old.String() {
			return fmt.Errorf("replacements[%d]: %q holds the module %s, not %s", i, replacement.New, module, replacement.Old)
		}
		replacements[i].New = xcaddy.ReplacementPath(path)
	}
	return nil
}

// isLocal tells a path on disk from a module path, as a replace directive of go.mod does.
func isLocal(path string) bool {
	return path == "." || path == ".." || strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../") || filepath.IsAbs(path)
}

// stamp adds the version to the linker flags within build flags. The go command takes the last -ldflags only, so a second
// one would undo the manifest's; and xcaddy leaves out its own -s -w, -trimpath and -tags as soon as there are any flags.
func stamp(buildFlags, version string) (string, error) {
	if !regexp.MustCompile(versionPattern).MatchString(version) {
		return "", fmt.Errorf("version %q does not match %s", version, versionPattern)
	}
	words, err := shlex.Split(buildFlags)
	if err != nil {
		return "", fmt.Errorf("splitting build_flags: %w", err)
	}
	at := slices.Index(words, "-ldflags") + 1
	if at == 0 || at == len(words) {
		return "", errors.New("build_flags needs -ldflags and their value as two words")
	}
	words[at] += " -X " + versionVariable + "=" + version
	for i, word := range words {
		words[i] = quote(word)
	}
	return strings.Join(words, " "), nil
}

// quote writes a word so that xcaddy, which splits by shlex, reads it as one.
func quote(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}
