// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// bench is what all measurements share.
type bench struct {
	settings   settings
	progress   io.Writer
	folder     string // holds what is built and what the proxies keep; removed by close
	programs   programs
	contenders []contender // those that can be measured here
	missing    []string    // why the others cannot, a sentence each
	origins    *lab.Origins
	machine    lab.Machine
}

// prepare builds our programs, looks for the others and starts the upstreams.
func prepare(ctx context.Context, s settings, progress io.Writer) (b *bench, err error) {
	b = &bench{settings: s, progress: progress}
	if err = lab.EnoughCores(s.short); err != nil {
		return b, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.folder, err = os.MkdirTemp("", "gatehouse-upstreams-"); err != nil {
		return b, fmt.Errorf("making a folder for what is built: %w", err)
	}
	lab.Say(progress, "building cmd/gatehouse and cmd/origin")
	if err = lab.Build(ctx, b.folder, "cmd/gatehouse", "cmd/origin"); err != nil {
		return b, err
	}
	b.programs.gatehouse, b.programs.origin = filepath.Join(b.folder, "gatehouse"), filepath.Join(b.folder, "origin")
	b.programs.nginx, b.programs.haproxy = lab.Find("nginx"), lab.Find("haproxy")
	if err = b.choose(ctx); err != nil {
		return b, err
	}
	if b.machine, err = lab.Inspect(ctx, b.programs.gatehouse, b.programs.nginx, b.programs.haproxy); err != nil {
		return b, err
	}
	b.origins, err = lab.StartOrigins(ctx, b.programs.origin, upstreams)
	return b, err
}

// close ends the upstreams and removes the folder.
func (b *bench) close() {
	if b.origins != nil {
		b.origins.Running.Stop()
	}
	lab.Remove(b.folder, b.progress)
}

// choose keeps the contenders that can be measured here.
func (b *bench) choose(ctx context.Context) error {
	modules, err := lab.Modules(ctx, b.programs.gatehouse)
	if err != nil {
		return err
	}
	for _, c := range b.settings.contenders {
		why := b.programs.missing(c, modules)
		if why == "" {
			b.contenders = append(b.contenders, c)
			continue
		}
		why = c.title + " is left out: " + why + "."
		b.missing = append(b.missing, why)
		lab.Say(b.progress, "%s", why)
	}
	if len(b.contenders) == 0 {
		return errors.New("nothing is left to measure")
	}
	return nil
}

// startProxy starts a contender and waits for its first answer from an upstream.
func (b *bench) startProxy(ctx context.Context, c contender) (*lab.Proxy, error) {
	return lab.StartProxy(ctx, lab.Setup{
		Name: c.name, Within: b.folder, Path: path,
		Command: func(folder string, port int) (lab.Command, error) {
			return c.command(b.programs, folder, port, b.origins.Addresses), nil
		},
	})
}

// origin is what a report says of the figures' origin.
func (b *bench) origin(whole bool, loadBefore string) lab.Origin {
	return lab.Origin{
		Machine: b.machine, LoadBefore: loadBefore, Missing: b.missing, Short: b.settings.short, Whole: whole,
	}
}
