// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// legal are the names of files that must go with a binary: licenses ask for their text, and Apache-2.0 for notices.
var legal = regexp.MustCompile(`(?i)^(un)?licen[sc]e|^copying|^copyright|^notice`)

// compare sorts modules.
func compare(a, b debug.Module) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Version, b.Version))
}

// licenses joins the licenses of modules, each text once with the modules that it is of.
func licenses(ctx context.Context, linked []debug.Module) ([]byte, error) {
	folders, err := folders(ctx)
	if err != nil {
		return nil, err
	}
	users := map[string][]string{} // by text
	var texts []string             // in the order of the first module that has each
	for _, m := range linked {
		name := m.Path + " " + m.Version
		found, err := legalTexts(folders[m.Path])
		if err != nil {
			return nil, fmt.Errorf("the license of %s: %w", name, err)
		}
		for _, text := range found {
			if users[text] == nil {
				texts = append(texts, text)
			}
			users[text] = append(users[text], name)
		}
	}
	var all bytes.Buffer
	fmt.Fprintf(&all, "Gatehouse contains the Go modules below, under the terms that follow their names.\n")
	for _, text := range texts {
		fmt.Fprintf(&all, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 78), strings.Join(users[text], "\n"), text)
	}
	return all.Bytes(), nil
}

// legalTexts reads the licenses and notices of a module.
func legalTexts(folder string) ([]string, error) {
	if folder == "" {
		return nil, fmt.Errorf("the module is not on this machine; run go mod download")
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, e := range entries {
		if e.IsDir() || !legal.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, strings.TrimSpace(string(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))))
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("there is none in %s", folder)
	}
	slices.Sort(texts)
	return slices.Compact(texts), nil
}

// folders tells where the source of each module of the build is.
func folders(ctx context.Context) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}\t{{.Dir}}", "all").Output()
	if err != nil {
		return nil, fmt.Errorf("listing modules: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, folder, _ := strings.Cut(strings.TrimSpace(line), "\t")
		found[name] = folder
	}
	return found, nil
}
