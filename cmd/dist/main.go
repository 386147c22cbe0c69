// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command dist makes what a release consists of, and publishes nothing: archives, Debian packages, the folder that an image
// is built from, a bill of materials of each binary, and checksums.
//
//	dist [-out FOLDER] [-targets linux/amd64,...] [-version VERSION] [-- BUILDFLAGS...]
//
// It runs in the root of the source. The same commit, Go and flags give the same bytes, whatever the folder and the day: times
// are the commit's or SOURCE_DATE_EPOCH, and names are sorted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		log.Fatalf("dist: %v", err)
	}
}

// target is a system that binaries are built for.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// release is one call of the program.
type release struct {
	out      string    // the folder of the results
	work     string    // a temporary one
	version  string    // as Git describes it
	epoch    time.Time // of every file
	targets  []target
	flags    []string // of go build
	progress io.Writer

	made []string // names of the files in out that checksums are of
}

func run(ctx context.Context, args []string, progress io.Writer) error {
	flags := flag.NewFlagSet("dist", flag.ContinueOnError)
	out := flags.String("out", "dist", "the `folder` of the results, which must be empty or missing")
	targets := flags.String("targets", "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64", "`systems` to build for")
	version := flags.String("version", "v0.0.0-dev", "the `version` in names and packages")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := &release{out: *out, version: *version, flags: flags.Args(), progress: progress}
	if !regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~-]*$`).MatchString(r.version) {
		return fmt.Errorf("-version %q: expected letters, digits and .+~- after one of the former", r.version)
	}
	for name := range strings.SplitSeq(*targets, ",") {
		system, arch, ok := strings.Cut(name, "/")
		if !ok || system == "" || arch == "" {
			return fmt.Errorf("-targets %q: expected systems such as linux/amd64, separated by commas", *targets)
		}
		r.targets = append(r.targets, target{system, arch})
	}
	if _, err := os.Stat(filepath.Join("cmd", "gatehouse", "main.go")); err != nil {
		return errors.New("there is no cmd/gatehouse here; run it in the root of the source")
	}
	var err error
	if r.epoch, err = epoch(ctx); err != nil {
		return err
	}
	return r.make(ctx)
}

// epoch is the time of the commit, or what SOURCE_DATE_EPOCH says; of source without history, 1 January 1980.
func epoch(ctx context.Context) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), nil
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: expected seconds since 1970, found %q", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func (r *release) make(ctx context.Context) error {
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return fmt.Errorf("making the folder of the results: %w", err)
	}
	if left, err := os.ReadDir(r.out); err != nil || len(left) > 0 {
		return fmt.Errorf("%s is not empty; remove it or name another folder with -out", r.out)
	}
	var err error
	if r.work, err = os.MkdirTemp("", "gatehouse-dist-"); err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(r.work)

	binaries := map[target]binary{}
	for _, t := range r.targets {
		if binaries[t], err = r.build(ctx, t); err != nil {
			return err
		}
	}
	c := contents{r: r}
	if err := c.collect(ctx, binaries); err != nil {
		return err
	}
	for _, t := range r.targets {
		if err := r.pack(c, binaries[t]); err != nil {
			return fmt.Errorf("packing %s: %w", t, err)
		}
	}
	if err := r.image(c, binaries); err != nil {
		return fmt.Errorf("making the folder of the image: %w", err)
	}
	return r.checksums()
}

// pack writes all that is made of one binary.
func (r *release) pack(c contents, b binary) error {
	if err := r.bill(b); err != nil {
		return err
	}
	name := fmt.Sprintf("gatehouse_%s_%s_%s", r.version, b.target.os, b.target.arch)
	if err := r.write(name+".tar.gz", func(w io.Writer) error { return c.archive(b).under(name).tarGz(w, "", r.epoch) }); err != nil {
		return err
	}
	if b.target.os != "linux" {
		return nil
	}
	p := pkg{version: debianVersion(r.version), arch: debianArchitecture(b.target.arch), tree: c.debian(b), epoch: r.epoch}
	return r.write(fmt.Sprintf("gatehouse_%s_%s.deb", p.version, p.arch), p.write)
}

// write makes a file of the results.
func (r *release) write(name string, content func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(r.out, name))
	if err != nil {
		return err
	}
	if err := errors.Join(content(f), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	r.made = append(r.made, name)
	fmt.Fprintln(r.progress, filepath.Join(r.out, name))
	return nil
}
