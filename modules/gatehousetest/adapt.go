// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package gatehousetest runs what tests of Gatehouse need for real: a Caddyfile adapted and loaded in this process on free
// loopback ports, requests through it, reloads good and bad, handlers without a server, and redis-servers of their own.
package gatehousetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // Caddyfiles in tests may use everything
)

var update = flag.Bool("update", false, "write the adapted JSON into the fixtures")

// separator stands between the Caddyfile and what it adapts to in a fixture.
const separator = "----------\n"

// Adapt turns a Caddyfile into JSON. Warnings, of formatting for instance, are not errors.
func Adapt(caddyfile string) ([]byte, error) {
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return result, err
}

// Seeds begins a fuzz test with the part of each fixture that cut returns. Without a fixture it fails.
func Seeds(f *testing.F, pattern string, cut func(fixture string) string) {
	f.Helper()
	for _, file := range matches(f, pattern) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(cut(string(text)))
	}
}

// Fixtures runs every file of pattern (normally "testdata/*.caddyfiletest") as a subtest. A fixture is a Caddyfile, a line
// of ten dashes, and then the JSON it must adapt to, or the text that its error must contain. JSON is provisioned too,
// as `validate` does; with a second line of dashes, the text after it is the error that provisioning must give.
// `go test -update` rewrites the JSON.
func Fixtures(t *testing.T, pattern string) {
	t.Helper()
	for _, file := range matches(t, pattern) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) { fixture(t, file) })
	}
}

// matches returns the files of pattern; none would have a test pass that tests nothing.
func matches(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixture matches %s (%v)", pattern, err)
	}
	return files
}

func fixture(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(strings.ReplaceAll(string(text), "\r\n", "\n"), separator, 3)
	if len(parts) < 2 {
		t.Fatalf("%s has no line of ten dashes", file)
	}
	want, wantProvision := strings.TrimSpace(parts[1]), ""
	if len(parts) == 3 {
		wantProvision = strings.TrimSpace(parts[2])
	}
	got, err := Adapt(parts[0])
	if err != nil {
		if want == "" || strings.HasPrefix(want, "{") || !strings.Contains(err.Error(), want) {
			t.Fatalf("adapting failed:\n got: %v\nwant: %s", err, want)
		}
		return
	}
	got = indent(t, got)
	if *update && (want == "" || strings.HasPrefix(want, "{")) {
		writeFixture(t, file, parts, got)
		return
	}
	if !strings.HasPrefix(want, "{") {
		t.Fatalf("adapting succeeded, want the error %q", want)
	}
	if want := indent(t, []byte(want)); !bytes.Equal(got, want) {
		t.Errorf("adapted JSON differs (go test -update rewrites it):\n--- got\n%s\n--- want\n%s", got, want)
	}
	checkProvision(t, got, wantProvision)
}

func checkProvision(t *testing.T, config []byte, want string) {
	t.Helper()
	err := Validate(config)
	switch {
	case want == "" && err != nil:
		t.Errorf("the adapted JSON does not provision: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("provisioning gave %v, want an error that contains %q", err, want)
	}
}

func writeFixture(t *testing.T, file string, parts []string, got []byte) {
	t.Helper()
	text := parts[0] + separator + string(got) + "\n"
	if len(parts) == 3 {
		text += separator + parts[2]
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Validate provisions a JSON config and cleans it up again, as `gatehouse validate` does. Nothing listens.
func Validate(config []byte) error {
	instance.Lock() // provisioning touches process-wide state: the default logger, usage pools
	defer instance.Unlock()
	cfg, err := withoutPersistence(config)
	if err != nil {
		return err
	}
	return caddy.Validate(cfg)
}

func withoutPersistence(config []byte) (*caddy.Config, error) {
	cfg := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(config, cfg); err != nil {
		return nil, err
	}
	cfg.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: new(bool)}}
	return cfg, nil
}

func indent(t *testing.T, config []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, config, "", "\t"); err != nil {
		t.Fatal(errors.Join(errors.New("the JSON is malformed"), err))
	}
	return out.Bytes()
}
