// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Build makes programs into a folder, as `make build` does, from the module that the working directory belongs to. The
// packages are named from the module's root: cmd/origin becomes origin.
func Build(ctx context.Context, folder string, packages ...string) error {
	for _, of := range packages {
		name := path.Base(of)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "nobadger,nomysql,nopgx", "-ldflags", "-s -w",
			"-o", filepath.Join(folder, name), "github.com/gatehouse-proxy/gatehouse/"+of)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTMPDIR="+folder) // what a build leaves when it is stopped is removed with it
		cmd.SysProcAttr, cmd.WaitDelay = OwnGroup(), killAfter
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) } // with its compilers
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// Modules lists the Caddy modules in a build, a line each.
func Modules(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, program, "list-modules").Output()
	if err != nil {
		return nil, fmt.Errorf("listing the modules of our program: %w", err)
	}
	return strings.Split(string(out), "\n"), nil
}

// Find looks for a program also where only administrators have their path.
func Find(name string) string {
	if program, err := exec.LookPath(name); err == nil {
		return program
	}
	for _, folder := range []string{"/usr/sbin", "/usr/local/sbin"} {
		program := filepath.Join(folder, name)
		if info, err := os.Stat(program); err == nil && !info.IsDir() {
			return program
		}
	}
	return ""
}

// NotInstalled says that a program is not there, and how to get it.
func NotInstalled(title, ofPackage string) string {
	return title + " is not installed (its package is called " + ofPackage + ")"
}

// NeedRedis returns the path of redis-server; the error says how to get it.
func NeedRedis() (string, error) {
	const program = "redis-server"
	path := Find(program)
	if path == "" {
		return "", errors.New(NotInstalled(program, program))
	}
	return path, nil
}

// Remove removes the folder of what was built, if there is one; a failure is only told.
func Remove(folder string, progress io.Writer) {
	if folder == "" {
		return
	}
	if err := os.RemoveAll(folder); err != nil {
		Say(progress, "removing what was built: %v", err)
	}
}

// Tool looks for a program that `make load-tools` builds, and then on PATH.
func Tool(file string) (string, error) {
	if info, err := os.Stat(file); err == nil && !info.IsDir() {
		return filepath.Abs(file)
	}
	if found := Find(filepath.Base(file)); found != "" {
		return found, nil
	}
	return "", fmt.Errorf("%s is missing: run `make load-tools` first", file)
}
