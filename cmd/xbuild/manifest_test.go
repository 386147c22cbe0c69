// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"
)

// writeManifest puts a manifest and the module example.com/plugin, in the folder `plugin`, into a new folder.
func writeManifest(t *testing.T, manifest string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "plugin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "plugin", "go.mod"), []byte("module example.com/plugin\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, manifestName)
	if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoadManifest(t *testing.T) {
	file := writeManifest(t, `{
		"caddy_version": "v2.11.9",
		"plugins": [{"module_path": "example.com/plugin", "version": "v0.0.0"}],
		"replacements": [
			{"old": "example.com/plugin", "new": "./plugin"},
			{"old": "example.com/other", "new": "example.com/fork v1.2.3"}
		],
		"build_flags": "-trimpath",
		"cgo": true
	}`)
	builder, err := loadManifest(file)
	if err != nil {
		t.Fatal(err)
	}
	if builder.CaddyVersion != "v2.11.9" || builder.BuildFlags != "-trimpath" || !builder.Cgo {
		t.Errorf("fields are lost: %+v", builder)
	}
	if got, want := builder.Plugins[0].String(), "example.com/plugin@v0.0.0"; got != want {
		t.Errorf("plugin is %s, want %s", got, want)
	}
	if got, want := builder.Replacements[0].New.String(), filepath.Join(filepath.Dir(file), "plugin"); got != want {
		t.Errorf("local replacement is %s, want %s", got, want)
	}
	if got, want := builder.Replacements[1].New.Param(), "example.com/fork@v1.2.3"; got != want {
		t.Errorf("replacement by another module is %s, want %s", got, want)
	}
}

func TestLoadManifestRelativeToItsFolder(t *testing.T) {
	file := writeManifest(t, `{
		"caddy_version": "v2.11.9",
		"plugins": [{"module_path": "example.com/plugin", "version": "v0.0.0"}],
		"replacements": [{"old": "example.com/plugin", "new": "."}]
	}`)
	folder := filepath.Join(filepath.Dir(file), "plugin")
	if err := os.Rename(file, filepath.Join(folder, manifestName)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(folder))
	builder, err := loadManifest(filepath.Join("plugin", manifestName))
	if err != nil {
		t.Fatal(err)
	}
	if got := builder.Replacements[0].New.String(); got != folder {
		t.Errorf("replacement is %s, want %s", got, folder)
	}
}

func TestLoadManifestRefuses(t *testing.T) {
	const plugins = `"caddy_version": "v2.11.9", "plugins": [{"module_path": "example.com/plugin", "version": "v0.0.0"}]`
	cases := []struct {
		name, manifest, want string
	}{
		{"nothing", "", "does not end"},
		{"half an object", `{"caddy_version":`, "does not end"},
		{"bad syntax", "{\n\"caddy_version\" 1}", "line 2: "},
		{"unknown field", "{\"caddy_versoin\": \"v2.11.9\"}", `unknown field "caddy_versoin"`},
		{"unknown field within", `{"plugins": [{"path": "example.com/plugin"}]}`, `unknown field "path"`},
		{"wrong type", "{\n\n\"caddy_version\": 2}", "line 3: caddy_version is a JSON number where string is due"},
		{"two objects", "{" + plugins + "}\n{}", "line 2: something follows the object"},
		{"no Caddy version", `{"plugins": []}`, "caddy_version is missing"},
		{"no plugins", `{"caddy_version": "v2.11.9"}`, "plugins is empty"},
		{"plugin without version", `{"caddy_version": "v2.11.9", "plugins": [{"module_path": "example.com/plugin"}]}`, "plugins[0] needs both"},
		{"plugin without path", `{"caddy_version": "v2.11.9", "plugins": [{"version": "v0.0.0"}]}`, "plugins[0] needs both"},
		{"replacement without new", "{" + plugins + `, "replacements": [{"old": "example.com/plugin"}]}`, "replacements[0] needs both"},
		{"replacement nowhere", "{" + plugins + `, "replacements": [{"old": "example.com/plugin", "new": "./absent"}]}`, `"./absent" holds no Go module`},
		{"replacement by a stranger", "{" + plugins + `, "replacements": [{"old": "example.com/other", "new": "./plugin"}]}`, `holds the module example.com/plugin, not example.com/other`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file := writeManifest(t, c.manifest)
			_, err := loadManifest(file)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("error is %v, want one that names %s and says %q", err, file, c.want)
			}
		})
	}
}

func TestStamp(t *testing.T) {
	got, err := stamp(`-trimpath -tags a,b -ldflags "-s -X 'x.Y=two words' -X x.Z=\"q\"" -v`, "v1.2.3-4-gabcdef-dirty")
	if err != nil {
		t.Fatal(err)
	}
	words, err := shlex.Split(got)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-trimpath", "-tags", "a,b",
		"-ldflags", `-s -X 'x.Y=two words' -X x.Z="q" -X github.com/caddyserver/caddy/v2.CustomVersion=v1.2.3-4-gabcdef-dirty`,
		"-v",
	}
	if !slices.Equal(words, want) {
		t.Errorf("stamped flags are\n%q, want\n%q", words, want)
	}
}

func TestStampRefuses(t *testing.T) {
	cases := []struct {
		name, flags, version, want string
	}{
		{"empty version", "-ldflags -s", "", "does not match"},
		{"space in the version", "-ldflags -s", "v1 -X a.B=c", "does not match"},
		{"version like an option", "-ldflags -s", "-s", "does not match"},
		{"line end in the version", "-ldflags -s", "v1\n", "does not match"},
		{"no linker flags", "-trimpath", "v1", "needs -ldflags"},
		{"no flags", "", "v1", "needs -ldflags"},
		{"linker flags without value", "-trimpath -ldflags", "v1", "needs -ldflags"},
		{"open quote", `-ldflags "-s`, "v1", "splitting build_flags"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := stamp(c.flags, c.version)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("stamp gave %q and error %v, want an error that says %q", got, err, c.want)
			}
		})
	}
}
