// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// files are what packages have besides the proxy and its documentation.
//
//go:embed files
var files embed.FS

// contents is what goes into packages besides the binary.
type contents struct {
	r *release

	license, licenses, readme []byte // ours, those of the modules that are linked, and the page to begin with
	docs, examples, manual    tree
	completions               map[string][]byte // by shell
}

func (c *contents) collect(ctx context.Context, binaries map[target]binary) error {
	var err error
	if c.license, err = os.ReadFile("LICENSE"); err != nil {
		return err
	}
	if c.readme, err = os.ReadFile("README.md"); err != nil {
		return err
	}
	if c.docs, err = read("docs", func(name string) bool { return strings.HasSuffix(name, ".md") }); err != nil {
		return err
	}
	if c.examples, err = read("caddyfiles", func(string) bool { return true }); err != nil {
		return err
	}
	if c.licenses, err = licenses(ctx, modules(binaries)); err != nil {
		return err
	}
	return c.describe(ctx, binaries)
}

// describe has the proxy write its manual pages and completions.
func (c *contents) describe(ctx context.Context, binaries map[target]binary) error {
	b, ok := binaries[host()]
	if !ok {
		var err error
		if b, err = c.r.build(ctx, host()); err != nil {
			return err
		}
	}
	folder := filepath.Join(c.r.work, "man8")
	if _, err := c.r.ask(ctx, b, "manpage", "--directory", folder); err != nil {
		return err
	}
	var err error
	if c.manual, err = read(folder, func(name string) bool { return strings.HasSuffix(name, ".8") }); err != nil {
		return err
	}
	c.manual[rootPage] = entry{0o644, named(c.manual[rootPage].data)}
	c.completions = map[string][]byte{}
	for shell := range helped() {
		if c.completions[shell], err = c.r.ask(ctx, b, "completion", shell); err != nil {
			return err
		}
	}
	return nil
}

// rootPage is the manual page of the command without a subcommand.
const rootPage = "gatehouse.8"

// named adds what the page's NAME section lacks, since the root command has no short description: without one, whatis
// and apropos do not find the page (lintian: bad-whatis-entry).
func named(page []byte) []byte {
	return bytes.Replace(page, []byte("\ngatehouse -\n"),
		[]byte("\ngatehouse - a proxy in front of applications, with limits, a cache and logs that are kept\n"), 1)
}

// archive is what a tar.gz holds.
func (c *contents) archive(b binary) tree {
	t := tree{
		"gatehouse":            {0o755, b.data},
		"Caddyfile":            {0o644, file("Caddyfile")},
		"LICENSE":              {0o644, c.license},
		"THIRD_PARTY_LICENSES": {0o644, c.licenses},
		"README.md":            {0o644, c.readme},
	}
	t.add("docs", c.docs)
	t.add("caddyfiles", c.examples)
	t.add("man/man8", c.manual)
	for shell, where := range helped() {
		name := path.Base(where)
		if shell == "bash" {
			name = "gatehouse.bash" // which tells what it is for
		}
		t[path.Join("completions", name)] = entry{0o644, c.completions[shell]}
	}
	if b.target.os == "linux" {
		t["gatehouse.service"] = entry{0o644, file("gatehouse.service")}
	}
	return t
}

// file is one of those that are embedded.
func file(name string) []byte {
	data, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(fmt.Sprintf("BUG: %s is not embedded: %v", name, err))
	}
	return data
}
