// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// TestDocsCaddyfiles adapts and provisions every file of caddyfiles/.
func TestDocsCaddyfiles(t *testing.T) {
	t.Setenv("ORIGIN_A", "127.0.0.1:9001") // read by demo.caddyfile
	t.Setenv("ORIGIN_B", "127.0.0.1:9002")
	files, err := filepath.Glob(filepath.Join(root, "caddyfiles", "*.caddyfile"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Caddyfile found (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := valid(string(text)); err != nil {
				t.Error(err)
			}
			if strings.Contains(string(text), "reverse_proxy") && !strings.Contains(string(text), "stream_close_delay") {
				t.Error("a reload of this example would cut WebSockets: it sets no stream_close_delay")
			}
		})
	}
}

// valid adapts and provisions a Caddyfile.
func valid(caddyfile string) error {
	config, err := gatehousetest.Adapt(caddyfile)
	if err != nil {
		return err
	}
	return gatehousetest.Validate(config)
}

// snippet is a fenced block of a Markdown page.
var snippet = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// TestDocsSnippets adapts and provisions every snippet that a page marks as a Caddyfile: as a whole file or, where it
// shows directives alone, inside a site.
func TestDocsSnippets(t *testing.T) {
	checked := 0
	for page, text := range pages(t) {
		for i, match := range snippet.FindAllStringSubmatch(text, -1) {
			if match[1] != "caddyfile" {
				continue
			}
			checked++
			t.Run(fmt.Sprintf("%s/%d", page, i+1), func(t *testing.T) {
				whole := valid(match[2])
				if whole == nil {
					return
				}
				if inSite := valid(":8080 {\n" + match[2] + "\n}"); inSite != nil {
					t.Errorf("neither a Caddyfile (%v) nor the directives of a site (%v):\n%s", whole, inSite, match[2])
				}
			})
		}
	}
	if checked == 0 {
		t.Fatal("no snippet was found")
	}
}

// link is a Markdown link to a place in this repository.
var link = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)

// TestDocsLinks finds links to files that do not exist.
func TestDocsLinks(t *testing.T) {
	for page, text := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(root, filepath.Dir(page), match[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, match[1])
			}
		}
	}
}

// TestDocsKeepalived compares the file in caddyfiles/ with what the page shows of it.
func TestDocsKeepalived(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(root, "caddyfiles", "keepalived.conf"))
	if err != nil {
		t.Fatal(err)
	}
	_, config, _ := strings.Cut(string(file), "global_defs")
	page := strings.ReplaceAll(pages(t)[filepath.Join("docs", "ready.md")], "\n    ", "\n")
	if config == "" || !strings.Contains(page, "global_defs"+config) {
		t.Error("docs/ready.md shows another keepalived.conf than caddyfiles/ has")
	}
}

// foreign are words that say where or how the project is developed, which is nobody's business here.
var foreign = regexp.MustCompile(`(?i)/work/|/root/|proxy\.golang\.org|registry\.npmjs|deb\.debian\.org|/tmp/[a-z]+\.md`)

// TestDocsSpeakOfTheProjectAlone keeps paths of a machine and hosts of package registries out of the pages.
func TestDocsSpeakOfTheProjectAlone(t *testing.T) {
	for page, text := range pages(t) {
		if found := foreign.FindString(text); found != "" {
			t.Errorf("%s says %q", page, found)
		}
	}
}

// pages reads README and every page of docs/, by path from the repository's root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(path string) error {
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		found[name] = string(text)
		return err
	}
	if err := add(filepath.Join(root, "README.md")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		return add(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
