// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWithoutRedis builds the proxy with the line that imports plugins/redis taken out, as a user would who does not want
// it: it must compile, carry no Redis client, and load a config with embedded stores.
func TestWithoutRedis(t *testing.T) {
	const line = "\t_ \"" + module + "/plugins/redis\"\n"
	plugins := filepath.Join(root, "plugins", "plugins.go")
	text, err := os.ReadFile(plugins)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), line) {
		t.Fatalf("%s does not import plugins/redis", plugins)
	}
	folder := t.TempDir()
	program := buildOverlaid(t, folder, plugins, strings.Replace(string(text), line, "", 1))

	linked, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(linked), "caddyserver/caddy") || strings.Contains(string(linked), "go-redis") {
		t.Errorf("linked modules:\n%s", linked)
	}

	caddyfile := filepath.Join(folder, "Caddyfile")
	if err := os.WriteFile(caddyfile, []byte(":8080 {\n\tip_ban\n\trespond hello\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "validate", "--config", caddyfile).CombinedOutput(); err != nil {
		t.Errorf("with embedded stores: %v\n%s", err, out)
	}
	if err := os.WriteFile(caddyfile, []byte("{\n\tredis redis://127.0.0.1:6379\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "validate", "--config", caddyfile).CombinedOutput(); err == nil {
		t.Errorf("the redis option was accepted by a build without it:\n%s", out)
	}
}

// buildOverlaid builds the proxy with one file's text replaced, and returns the program's path.
func buildOverlaid(t *testing.T, folder, file, text string) string {
	t.Helper()
	replacement := filepath.Join(folder, "replacement.go")
	if err := os.WriteFile(replacement, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{absolute: replacement}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder, "gatehouse")
	if out, err := exec.Command("go", "build", "-overlay", overlayFile, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}
