// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// bench is what all measurements share.
type bench struct {
	settings   settings
	progress   io.Writer
	folder     string // holds what is built and what the proxies keep; removed by close
	programs   programs
	contenders []contender // those that can be measured here
	missing    []string    // why the others cannot, a sentence each
	origins    *origins
	machine    machine
}

// prepare builds our programs, looks for the others and starts the upstreams.
func prepare(ctx context.Context, s settings, progress io.Writer) (b *bench, err error) {
	b = &bench{settings: s, progress: progress}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.folder, err = os.MkdirTemp("", "gatehouse-upstreams-"); err != nil {
		return b, fmt.Errorf("making a folder for what is built: %w", err)
	}
	say(progress, "building cmd/gatehouse and cmd/origin")
	if err = b.build(ctx); err != nil {
		return b, err
	}
	b.programs.nginx, b.programs.haproxy = find("nginx"), find("haproxy")
	if err = b.choose(ctx); err != nil {
		return b, err
	}
	if b.machine, err = inspect(ctx, b.programs); err != nil {
		return b, err
	}
	b.origins, err = startOrigins(ctx, b.programs.origin)
	return b, err
}

// close ends the upstreams and removes the folder.
func (b *bench) close() {
	if b.origins != nil {
		b.origins.running.stop()
	}
	if b.folder == "" {
		return
	}
	if err := os.RemoveAll(b.folder); err != nil {
		say(b.progress, "removing what was built: %v", err)
	}
}

// build makes the programs as `make build` does, from the module that the working directory belongs to.
func (b *bench) build(ctx context.Context) error {
	b.programs.gatehouse = filepath.Join(b.folder, "gatehouse")
	b.programs.origin = filepath.Join(b.folder, "origin")
	for _, program := range []string{b.programs.gatehouse, b.programs.origin} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "nobadger,nomysql,nopgx", "-ldflags", "-s -w",
			"-o", program, "github.com/gatehouse-proxy/gatehouse/cmd/"+filepath.Base(program))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", filepath.Base(program), err, out)
		}
	}
	return nil
}

// choose keeps the contenders that can be measured here.
func (b *bench) choose(ctx context.Context) error {
	modules, err := exec.CommandContext(ctx, b.programs.gatehouse, "list-modules").Output()
	if err != nil {
		return fmt.Errorf("listing the modules of our program: %w", err)
	}
	for _, c := range b.settings.contenders {
		why := b.programs.missing(c, string(modules)+"\n")
		if why == "" {
			b.contenders = append(b.contenders, c)
			continue
		}
		why = c.title + " is left out: " + why + "."
		b.missing = append(b.missing, why)
		say(b.progress, "%s", why)
	}
	if len(b.contenders) == 0 {
		return errors.New("nothing is left to measure")
	}
	return nil
}

// machine is where and of what the figures are.
type machine struct {
	cpu      string
	system   string
	commit   string
	versions []string
}

// inspect reads what the report has to say of the machine and the programs. What cannot be found out stays "unknown".
func inspect(ctx context.Context, p programs) (machine, error) {
	m := machine{cpu: cpuModel(), system: system(), commit: commit(ctx)}
	info, err := buildinfo.ReadFile(p.gatehouse)
	if err != nil {
		return m, fmt.Errorf("reading what our program was built from: %w", err)
	}
	m.versions = append(m.versions, info.GoVersion)
	for _, dep := range info.Deps {
		if dep.Path == "github.com/caddyserver/caddy/v2" {
			m.versions = append(m.versions, "Caddy "+dep.Version)
		}
	}
	if p.nginx != "" {
		m.versions = append(m.versions, firstLine(ctx, p.nginx, "-v"))
	}
	if p.haproxy != "" {
		m.versions = append(m.versions, firstLine(ctx, p.haproxy, "-v"))
	}
	return m, nil
}

func commit(ctx context.Context) string {
	hash, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain").Output()
	if err != nil || len(changes) > 0 {
		return strings.TrimSpace(string(hash)) + " with changes that are not committed"
	}
	return strings.TrimSpace(string(hash))
}

// firstLine of what a program prints; nginx prints its version to standard error.
func firstLine(ctx context.Context, program, arg string) string {
	out, err := exec.CommandContext(ctx, program, arg).CombinedOutput()
	if err != nil {
		return filepath.Base(program) + " of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	line = strings.TrimPrefix(line, "nginx version: ")
	line, _, _ = strings.Cut(line, " - http")
	return line
}

// cpuModel is the first processor's name.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// system is the kernel and its version.
func system() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return "Linux " + strings.TrimSpace(string(release))
}

// load is the load average of 1, 5 and 15 minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}
