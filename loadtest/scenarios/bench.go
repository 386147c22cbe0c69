// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// bench is what scenarios share.
type bench struct {
	settings settings
	stdout   io.Writer
	progress io.Writer
	folder   string // holds what is built and what the proxies keep
	k6       string
	missing  []string // why a scenario was left out, a sentence each
	outcomes []outcome
}

// longest is when a scenario that does not end is given up, at scale 1 or less: soak takes ten minutes.
const longest = 15 * time.Minute

// all runs the scenarios, one after another, and reports those that ended, also if the rest was interrupted.
func all(ctx context.Context, s settings, stdout, progress io.Writer) (err error) {
	b := &bench{settings: s, stdout: stdout, progress: progress}
	if err := lab.EnoughCores(lab.Short()); err != nil {
		return err
	}
	if b.k6, err = lab.Tool(s.k6); err != nil {
		return err
	}
	if b.settings.output, err = filepath.Abs(s.output); err != nil {
		return err
	}
	if s.control {
		b.settings.output = filepath.Join(b.settings.output, "control")
	}
	if err := os.MkdirAll(b.settings.output, 0o755); err != nil {
		return fmt.Errorf("making the folder for summaries: %w", err)
	}
	if b.folder, err = os.MkdirTemp("", "gatehouse-scenarios-"); err != nil {
		return fmt.Errorf("making a folder for what is built: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.folder)) }()
	lab.Say(progress, "building cmd/gatehouse and cmd/origin")
	if err := lab.Build(ctx, b.folder, "cmd/gatehouse", "cmd/origin"); err != nil {
		return lab.Interrupted(ctx, err)
	}
	machine, err := lab.Inspect(ctx, b.gatehouse())
	if err != nil {
		return lab.Interrupted(ctx, err)
	}
	if info, err := buildinfo.ReadFile(b.k6); err == nil {
		machine.Versions = append(machine.Versions, "k6 "+info.Main.Version)
	}
	before := lab.Load()
	err = b.each(ctx)
	if len(b.outcomes) == 0 {
		return err
	}
	from := lab.Origin{Machine: machine, LoadBefore: before, Missing: b.missing, Whole: ctx.Err() == nil}
	text := report(from, b.outcomes, s.scale, s.control)
	lab.Say(stdout, "%s", text)
	return errors.Join(err, write(b.settings.output, text))
}

// each runs the scenarios. One whose thresholds are broken keeps no other from running.
func (b *bench) each(ctx context.Context) error {
	modules, err := lab.Modules(ctx, b.gatehouse())
	if err != nil {
		return lab.Interrupted(ctx, err)
	}
	var failed []error
	for i, next := range b.settings.scenarios {
		if id := next.missing(modules); id != "" {
			b.missing = append(b.missing, fmt.Sprintf("%s is left out, since this build has no module %s.", next.name, id))
			lab.Say(b.progress, "%d of %d: %s", i+1, len(b.settings.scenarios), b.missing[len(b.missing)-1])
			continue
		}
		lab.Say(b.progress, "%d of %d: %s", i+1, len(b.settings.scenarios), next.name)
		err := b.try(ctx, next)
		if ctx.Err() != nil {
			return errors.Join(append(failed, lab.Interrupted(ctx, err))...)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", next.name, err))
		}
	}
	return errors.Join(failed...)
}

func (b *bench) gatehouse() string { return filepath.Join(b.folder, "gatehouse") }

// try runs one scenario.
func (b *bench) try(ctx context.Context, s scenario) error {
	program := filepath.Join(b.folder, "origin")
	first, err := lab.StartOrigins(ctx, program, 2, "--name", "first,ingest")
	if err != nil {
		return err
	}
	defer first.Running.Stop()
	second, err := lab.StartOrigins(ctx, program, 1, "--name", "second")
	if err != nil {
		return err
	}
	defer second.Running.Stop()
	at := places{first: first.Addresses[0], ingest: first.Addresses[1], second: second.Addresses[0]}
	proxy, err := b.startProxy(ctx, s, &at)
	if err != nil {
		return err
	}
	defer proxy.Stop()
	if s.killAfter > 0 {
		kill := time.AfterFunc(b.scaled(s.killAfter), second.Running.Kill)
		defer kill.Stop()
	}
	if b.settings.control && s.control.upstream != "" {
		ill := time.AfterFunc(b.scaled(s.control.after), func() {
			for _, o := range []*lab.Origins{first, second} {
				if err := o.Set(ctx, http.MethodPut, 0, s.control.upstream); err != nil {
					lab.Say(b.progress, "the control is none: %v", err) // and holds its thresholds, so that it is told
				}
			}
		})
		defer ill.Stop()
	}
	if err := b.drive(ctx, s, proxy, at); err != nil {
		return err
	}
	got, err := readSummary(filepath.Join(b.settings.output, s.name+".json"))
	if err != nil {
		return err
	}
	err = judge(s, got, b.settings.control)
	b.outcomes = append(b.outcomes, outcome{s, got, err})
	return err
}

// scaled is a time of a scenario in this run.
func (b *bench) scaled(d time.Duration) time.Duration {
	return time.Duration(b.settings.scale * float64(d))
}

// places are addresses of 127.0.0.1.
type places struct{ first, second, ingest, admin string }

func (b *bench) startProxy(ctx context.Context, s scenario, at *places) (*lab.Proxy, error) {
	text, err := os.ReadFile(filepath.Join(b.settings.scripts, s.caddyfile))
	if err != nil {
		return nil, fmt.Errorf("reading the proxy's configuration (run this from the repository's root): %w", err)
	}
	config := string(text)
	if leave := s.control.without; b.settings.control && leave != "" {
		if config, err = without(config, leave); err != nil {
			return nil, err
		}
	}
	return lab.StartProxy(ctx, lab.Setup{
		Name: s.name, Within: b.folder, Path: "/healthz",
		Command: func(folder string, port int) (lab.Command, error) {
			admin, err := lab.FreePort()
			if err != nil {
				return lab.Command{}, err
			}
			at.admin = "127.0.0.1:" + strconv.Itoa(admin)
			return lab.Command{
				Path: b.gatehouse(), File: "Caddyfile", Text: config,
				Args: []string{"run", "--adapter", "caddyfile", "--config", filepath.Join(folder, "Caddyfile")},
				Env: []string{
					"PORT=" + strconv.Itoa(port), "FIRST=" + at.first, "SECOND=" + at.second, "INGEST=" + at.ingest,
					"ADMIN=" + at.admin, "FOLDER=" + folder, "XDG_DATA_HOME=" + folder, "XDG_CONFIG_HOME=" + folder,
				},
			}, nil
		},
	})
}

// drive runs the script. k6 ends with status 99 if a threshold is broken, which is for judge to say.
func (b *bench) drive(ctx context.Context, s scenario, proxy *lab.Proxy, at places) error {
	cmd := exec.Command(b.k6, "run", "--quiet", "--no-usage-report", "--no-color", "--address", "",
		filepath.Join(b.settings.scripts, s.name+".js"))
	cmd.Env = append(os.Environ(),
		"TARGET="+proxy.Base, "ADMIN=http://"+at.admin, "OUT="+b.settings.output,
		"ORIGINS=http://"+strings.Join([]string{at.first, at.second, at.ingest}, ",http://"),
		"SCALE="+strconv.FormatFloat(b.settings.scale, 'g', -1, 64))
	cmd.Stdout = b.stdout
	running, err := lab.StartCommand(cmd)
	if err != nil {
		return err
	}
	defer running.Stop()
	limit := time.NewTimer(time.Duration(max(1, b.settings.scale) * float64(longest)))
	defer limit.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-limit.C:
		return errors.New("it did not end")
	case <-proxy.Ended:
		return fmt.Errorf("the proxy ended: %s", proxy.Log)
	case <-running.Ended:
	}
	const brokenThreshold = 99
	switch status := running.Status(); status {
	case 0, brokenThreshold:
		return nil
	default:
		return fmt.Errorf("k6 ended with status %d: %s", status, running.Log)
	}
}
