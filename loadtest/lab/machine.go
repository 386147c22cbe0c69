// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Machine is where and of what figures are. What cannot be found out is "unknown".
type Machine struct {
	CPU      string
	System   string
	Commit   string
	Versions []string
}

// Inspect reads what a report has to say of the machine and the programs: ours, built with Caddy, and others by their
// paths, of which empty ones are skipped.
func Inspect(ctx context.Context, ours string, others ...string) (Machine, error) {
	m := Machine{CPU: cpuModel(), System: system(), Commit: commit(ctx)}
	info, err := buildinfo.ReadFile(ours)
	if err != nil {
		return m, fmt.Errorf("reading what our program was built from: %w", err)
	}
	m.Versions = append(m.Versions, info.GoVersion)
	for _, dep := range info.Deps {
		if dep.Path == "github.com/caddyserver/caddy/v2" {
			m.Versions = append(m.Versions, "Caddy "+dep.Version)
		}
	}
	for _, program := range others {
		if program != "" {
			m.Versions = append(m.Versions, firstLine(ctx, program, "-v"))
		}
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

// Load is the load average of 1, 5 and 15 minutes.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}
