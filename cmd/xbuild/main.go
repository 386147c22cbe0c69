// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command xbuild builds Gatehouse the way its users do: by xcaddy, from the manifest xcaddy.json.
//
// Run it anywhere in the project's tree:
//
//	xbuild [--manifest FILE] [--output FILE] [--version VERSION]
//
// It is a Go module of its own, so that xcaddy is no dependency of the proxy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// manifestName is the file looked for, in the current folder and then in those above it.
	manifestName = "xcaddy.json"

	// defaultOutput is where the binary goes, relative to the manifest's folder.
	defaultOutput = "bin/gatehouse-xcaddy"

	// developmentVersion is stamped in where Git cannot name the source, as in an unpacked archive.
	developmentVersion = "v0.0.0-dev"

	// describeTimeout bounds the call of Git.
	describeTimeout = 10 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		log.Fatalf("xbuild: %v", err)
	}
}

// run builds as args say, and stops early when ctx ends.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("xbuild", flag.ContinueOnError)
	manifestPath := flags.String("manifest", "", "the `file` to build from (default: "+manifestName+" here or above)")
	output := flags.String("output", "", "the binary's `path` (default: "+defaultOutput+" beside the manifest)")
	version := flags.String("version", "", "the `version` to stamp in (default: what git describe says, or "+developmentVersion+")")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	if *manifestPath == "" {
		found, err := findManifest(".")
		if err != nil {
			return err
		}
		*manifestPath = found
	}
	folder := filepath.Dir(*manifestPath)
	if *output == "" {
		*output = filepath.Join(folder, filepath.FromSlash(defaultOutput))
	}
	if *version == "" {
		*version = describe(ctx, folder)
	}
	return build(ctx, *manifestPath, *output, *version)
}

// findManifest looks for the manifest in folder and in those above it, so that xbuild runs from anywhere in the tree.
func findManifest(folder string) (string, error) {
	start, err := filepath.Abs(folder)
	if err != nil {
		return "", fmt.Errorf("finding the current folder: %w", err)
	}
	for at := start; ; at = filepath.Dir(at) {
		file := filepath.Join(at, manifestName)
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no %s in %s or above it; name one with --manifest", manifestName, start)
		}
	}
}

// describe names the source in folder as Git does.
func describe(ctx context.Context, folder string) string {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty")
	cmd.Dir = folder
	out, err := cmd.Output()
	if version := strings.TrimSpace(string(out)); err == nil && version != "" {
		return version
	}
	return developmentVersion
}

// build runs xcaddy on the manifest and writes the binary to output.
func build(ctx context.Context, manifestPath, output, version string) error {
	builder, err := loadManifest(manifestPath)
	if err != nil {
		return err
	}
	if builder.BuildFlags, err = stamp(builder.BuildFlags, version); err != nil {
		return fmt.Errorf("stamping the version into %s: %w", manifestPath, err)
	}

	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return fmt.Errorf("making the output's folder: %w", err)
	}
	restore, err := ownTempFolder()
	if err != nil {
		return err
	}
	defer restore()
	if err := builder.Build(ctx, output); err != nil {
		return fmt.Errorf("building by xcaddy: %w", err)
	}
	return nil
}

// ownTempFolder makes the process and its children work in a new temporary folder, until restore removes it: xcaddy kills
// the go command when its context ends, and neither of them tidies up after that.
func ownTempFolder() (restore func(), err error) {
	temp, err := os.MkdirTemp("", "gatehouse-xbuild-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	before, had := os.LookupEnv("TMPDIR")
	if err := os.Setenv("TMPDIR", temp); err != nil {
		return nil, fmt.Errorf("setting TMPDIR: %w", err)
	}
	return func() {
		os.RemoveAll(temp)
		if had {
			os.Setenv("TMPDIR", before)
		} else {
			os.Unsetenv("TMPDIR")
		}
	}, nil
}
