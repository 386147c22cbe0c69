// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/gatehouse-proxy/gatehouse"
)

const (
	module = "github.com/gatehouse-proxy/gatehouse"
	root   = "../.." // of the repository, from this package's folder
)

// helpers are the packages under modules/ that every host may import.
var helpers = []string{
	"adminapi", "adminclient", "backend", "clientaddr", "decision", "directive", "gatehousetest", "lease", "meter", "processors",
	"processwide", "refusal",
}

// pkg is what `go list -json` tells of a package; test files' imports are not in Imports.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// packages lists the module's packages.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p pkg
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// room is the first folder below modules/ or plugins/: the host, helper or plugin that a package belongs to.
func room(path string) (floor, name string) {
	parts := strings.SplitN(path, "/", 3)
	if len(parts) < 2 {
		return parts[0], ""
	}
	return parts[0], parts[1]
}

// forbidden says why a package may not import another one of this module, or nothing.
func forbidden(from, to string) string {
	fromFloor, fromRoom := room(from)
	toFloor, toRoom := room(to)
	testing := strings.HasSuffix(from, "test") || strings.HasSuffix(from, "sim")
	switch {
	case toFloor == "cmd" && fromFloor != "cmd" && !(fromFloor == "loadtest" && to == "cmd/origin/origin"):
		return "nobody imports cmd (save load tests, which run its upstreams)"
	case fromFloor == "modules" && toFloor == "plugins":
		return "modules never import plugins"
	case fromFloor == "plugins" && toFloor == "plugins" && fromRoom != "" && fromRoom != toRoom:
		return "plugins do not import one another"
	case to == "modules/gatehousetest" && !testing:
		return "gatehousetest is for tests and conformance suites"
	case fromFloor == "modules" && toFloor == "modules" && fromRoom != "" && fromRoom != toRoom &&
		!slices.Contains(helpers, toRoom) && !(fromRoom == "reqlimit" && toRoom == "ipban"):
		return "hosts do not import one another (save reqlimit, which reports strikes to ipban)"
	}
	return ""
}

func TestLayoutImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module+"/") {
				continue
			}
			if why := forbidden(p.ImportPath, strings.TrimPrefix(imported, module+"/")); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, why)
			}
		}
		if floor, _ := room(p.ImportPath); floor != "modules" {
			continue
		}
		for _, dep := range p.Deps {
			if strings.Contains(dep, "/go-redis/") || strings.Contains(dep, "/ristretto/v2") {
				t.Errorf("%s depends on %s, which belongs under plugins/", p.ImportPath, dep)
			}
		}
	}
}

// The rule must be able to fail.
func TestLayoutForbidden(t *testing.T) {
	for _, pair := range [][2]string{
		{"modules/ipban", "plugins/memory"},
		{"plugins/redis", "plugins/memory"},
		{"modules/balance", "modules/ipban"},
		{"modules/ipban", "modules/reqlimit"},
		{"modules/ipban", "modules/gatehousetest"},
		{"modules/front", "cmd/origin/origin"},
		{"loadtest/chaos", "cmd/gatehouse"},
	} {
		if forbidden(pair[0], pair[1]) == "" {
			t.Errorf("%s may import %s", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{
		{"modules/reqlimit", "modules/ipban"},
		{"loadtest/chaos", "cmd/origin/origin"},
		{"modules/ipban", "modules/lease"},
		{"modules/ipban/ipbantest", "modules/gatehousetest"},
		{"modules/balance", "modules/balance/estimator"},
		{"plugins/redis", "modules/ipban"},
		{"plugins", "plugins/redis"},
		{"modules", "modules/ipban"},
	} {
		if why := forbidden(pair[0], pair[1]); why != "" {
			t.Errorf("%s may not import %s: %s", pair[0], pair[1], why)
		}
	}
}

// ours maps the IDs of this repository's modules to their Go types.
func ours(t *testing.T) map[string]reflect.Type {
	t.Helper()
	found := map[string]reflect.Type{}
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		typ := reflect.TypeOf(info.New())
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if strings.HasPrefix(typ.PkgPath(), module) {
			found[id] = typ
		}
	}
	if len(found) == 0 {
		t.Fatal("no module of this repository is registered")
	}
	return found
}

func TestLayoutModuleIDs(t *testing.T) {
	for id, typ := range ours(t) {
		floor, name := room(strings.TrimPrefix(typ.PkgPath(), module+"/"))
		want := "modules"
		if strings.HasPrefix(id, "gatehouse.") || name == "redis" && (id == "redis" || strings.HasPrefix(id, "admin.api.")) {
			want = "plugins"
		}
		if floor != want {
			t.Errorf("module %s lives under %s, want %s", id, floor, want)
		}
	}
}

// word is the last part of a module ID: what a Caddyfile calls it.
func word(id string) string { return id[strings.LastIndex(id, ".")+1:] }

// documented lists the words of a Caddyfile that this repository adds, and the namespaces of its guests.
func documented(t *testing.T) (words, namespaces []string) {
	t.Helper()
	for id := range ours(t) {
		switch {
		case strings.HasPrefix(id, "gatehouse."):
			namespaces = append(namespaces, word(id[:strings.LastIndex(id, ".")]))
		case strings.HasPrefix(id, "admin.api."):
		default:
			words = append(words, word(id))
		}
	}
	slices.Sort(words)
	slices.Sort(namespaces)
	return slices.Compact(words), slices.Compact(namespaces)
}

func TestLayoutEveryWordHasItsPageExampleAndFixture(t *testing.T) {
	words, namespaces := documented(t)
	for _, name := range slices.Concat(words, namespaces) {
		if _, err := os.Stat(filepath.Join(root, "docs", name+".md")); err != nil {
			t.Errorf("docs/%s.md is missing", name)
		}
	}
	examples := read(t, "caddyfiles", ".caddyfile")
	fixtures := read(t, "modules", ".caddyfiletest") + read(t, "plugins", ".caddyfiletest")
	for _, name := range words {
		whole := regexp.MustCompile(`(?m)^[^#\n]*\b` + name + `\b`)
		if !whole.MatchString(examples) {
			t.Errorf("no file in caddyfiles/ uses %s", name)
		}
		if !whole.MatchString(fixtures) {
			t.Errorf("no adapt fixture uses %s", name)
		}
	}
}

// read joins the files of a folder of the repository, and of those below it, that end in suffix.
func read(t *testing.T, folder, suffix string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestLayoutVersionsAgree(t *testing.T) {
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`github\.com/caddyserver/caddy/v2 (v\S+)`).FindSubmatch(goMod)
	if required == nil {
		t.Fatal("go.mod does not require Caddy")
	}
	var manifest struct {
		CaddyVersion string `json:"caddy_version"`
		Plugins      []struct {
			Path string `json:"module_path"`
		} `json:"plugins"`
	}
	text, err := os.ReadFile(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.CaddyVersion != string(required[1]) {
		t.Errorf("xcaddy.json builds Caddy %s, go.mod requires %s", manifest.CaddyVersion, required[1])
	}
	want := []string{"github.com/caddyserver/caddy/v2/modules/standard"} // xcaddy's template imports it too
	for _, plugin := range manifest.Plugins {
		want = append(want, plugin.Path)
	}
	if got := blankImports(t, "main.go"); !slices.Equal(got, want) {
		t.Errorf("main.go imports %q, xcaddy.json builds %q", got, want)
	}
}

// blankImports lists the packages that a file imports for their registrations.
func blankImports(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, match := range regexp.MustCompile(`(?m)^\s*_ "([^"]+)"`).FindAllSubmatch(text, -1) {
		paths = append(paths, string(match[1]))
	}
	return paths
}
