// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
)

// binary is a proxy that was built.
type binary struct {
	target target
	file   string
	data   []byte
	info   *debug.BuildInfo // what the linker wrote into it: modules, versions, settings
}

// build compiles the proxy for a target, static and without the names of folders of this machine.
func (r *release) build(ctx context.Context, t target) (binary, error) {
	fmt.Fprintln(r.progress, "building for", t)
	b := binary{target: t, file: filepath.Join(r.work, t.os+"_"+t.arch, "gatehouse")}
	args := append([]string{"build", "-trimpath"}, r.flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", b.file, "./cmd/gatehouse")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return b, fmt.Errorf("building for %s: %w\n%s", t, err, out)
	}
	var err error
	if b.data, err = os.ReadFile(b.file); err != nil {
		return b, fmt.Errorf("reading what was built for %s: %w", t, err)
	}
	if b.info, err = buildinfo.ReadFile(b.file); err != nil {
		return b, fmt.Errorf("reading the modules of %s: %w", b.file, err)
	}
	return b, nil
}

// host is the target that this machine runs: manual pages and completions are what its binary prints.
func host() target { return target{runtime.GOOS, runtime.GOARCH} }

// helped are the shells that the proxy writes completions for, and where Debian keeps them.
func helped() map[string]string {
	return map[string]string{
		"bash": "usr/share/bash-completion/completions/gatehouse",
		"zsh":  "usr/share/zsh/vendor-completions/_gatehouse",
		"fish": "usr/share/fish/vendor_completions.d/gatehouse.fish",
	}
}

// ask has the proxy print something about itself, in an environment that is the same everywhere.
func (r *release) ask(ctx context.Context, b binary, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.file, args...)
	cmd.Env = []string{"HOME=" + r.work, "SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.epoch.Unix(), 10), "TZ=UTC"}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running gatehouse %q: %w", args, err)
	}
	return out, nil
}

// modules are those that any of the binaries was linked from, sorted.
func modules(binaries map[target]binary) []debug.Module {
	found := map[string]debug.Module{}
	for _, b := range binaries {
		for _, m := range b.info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			found[m.Path+"@"+m.Version] = *m
		}
	}
	all := make([]debug.Module, 0, len(found))
	for _, m := range found {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b debug.Module) int { return compare(a, b) })
	return all
}
