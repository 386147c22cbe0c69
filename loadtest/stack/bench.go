// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// bench is what all measurements share.
type bench struct {
	settings    settings
	progress    io.Writer
	folder      string // holds what is built and what the proxies keep; removed by close
	programs    programs
	comparisons []comparison // those that can be measured here
	missing     []string     // why the others cannot, a sentence each
	origins     *lab.Origins
	server      *lab.Process // Redis, where a contender needs it
	redis       string       // its address
	machine     lab.Machine
}

// receiver is which of the upstreams takes log lines; the first one answers requests.
const receiver = 1

// prepare builds our programs, looks for the others and starts what stands behind the proxies.
func prepare(ctx context.Context, s settings, progress io.Writer) (b *bench, err error) {
	if err := lab.EnoughCores(s.short); err != nil {
		return nil, err
	}
	b = &bench{settings: s, progress: progress}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.programs.vegeta, err = lab.Tool(s.vegeta); err != nil {
		return b, err
	}
	if b.folder, err = os.MkdirTemp("", "gatehouse-stack-"); err != nil {
		return b, fmt.Errorf("making a folder for what is built: %w", err)
	}
	if err = b.build(ctx); err != nil {
		return b, err
	}
	b.programs.nginx, b.programs.haproxy, b.programs.redis = lab.Find("nginx"), lab.Find("haproxy"), lab.Find("redis-server")
	if err = b.choose(ctx); err != nil {
		return b, err
	}
	if b.machine, err = lab.Inspect(ctx, b.programs.gatehouse, b.programs.nginx, b.programs.haproxy); err != nil {
		return b, err
	}
	if s.gatehouse != "" {
		b.machine.Versions = append(b.machine.Versions, "Gatehouse as "+s.gatehouse)
	}
	if err = b.startRedis(ctx); err != nil {
		return b, err
	}
	b.origins, err = lab.StartOrigins(ctx, b.programs.origin, 2)
	return b, err
}

// build makes our programs, save a proxy that was named.
func (b *bench) build(ctx context.Context) error {
	packages := []string{"cmd/origin", "loadtest/plain"}
	if b.settings.gatehouse == "" {
		packages = append(packages, "cmd/gatehouse")
	} else if _, err := exec.LookPath(b.settings.gatehouse); err != nil {
		return fmt.Errorf("-gatehouse: %w (`make xbuild` makes bin/gatehouse-xcaddy)", err)
	}
	lab.Say(b.progress, "building %s", strings.Join(packages, ", "))
	if err := lab.Build(ctx, b.folder, packages...); err != nil {
		return err
	}
	built := func(name string) string { return filepath.Join(b.folder, name) }
	b.programs.origin, b.programs.plain, b.programs.gatehouse = built("origin"), built("plain"), built("gatehouse")
	if b.settings.gatehouse == "" {
		return nil
	}
	var err error
	b.programs.gatehouse, err = filepath.Abs(b.settings.gatehouse)
	return err
}

// close ends what was started and removes the folder.
func (b *bench) close() {
	if b.origins != nil {
		b.origins.Running.Stop()
	}
	if b.server != nil {
		b.server.Stop()
	}
	lab.Remove(b.folder, b.progress)
}

// choose keeps the comparisons that can be measured here.
func (b *bench) choose(ctx context.Context) error {
	modules, err := lab.Modules(ctx, b.programs.gatehouse)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for _, c := range b.settings.comparisons {
		rival := named(c.rival)
		why := b.programs.missing(rival, modules)
		if why == "" {
			b.comparisons = append(b.comparisons, c)
			continue
		}
		if told[rival.name] {
			continue
		}
		told[rival.name] = true
		why = rival.title + ": left out, since " + why + "."
		b.missing = append(b.missing, why)
		lab.Say(b.progress, "%s", why)
	}
	if len(b.comparisons) == 0 {
		return errors.New("nothing is left to measure")
	}
	return nil
}

// startRedis starts a server of our own if a comparison needs one. It keeps nothing on disk.
func (b *bench) startRedis(ctx context.Context) error {
	needed := false
	for _, c := range b.comparisons {
		needed = needed || named(c.rival).redis
	}
	if !needed {
		return nil
	}
	port, err := lab.FreePort()
	if err != nil {
		return err
	}
	cmd := exec.Command(b.programs.redis, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	cmd.Dir = b.folder
	if b.server, err = lab.StartCommand(cmd); err != nil {
		return err
	}
	b.redis = "127.0.0.1:" + strconv.Itoa(port)
	const patience = 10 * time.Second
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.DialTimeout("tcp", b.redis, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("redis-server did not start within %s: %s", patience, b.server.Log)
		}
		if !lab.SleepUntil(ctx, time.Now().Add(20*time.Millisecond)) {
			return context.Cause(ctx)
		}
	}
}

// all measures every comparison, round by round. One that fails keeps no other from being measured.
func (b *bench) all(ctx context.Context) ([]block, error) {
	var blocks []block
	var failed []error
	begun, done, whole := time.Now(), 0, b.settings.rounds*len(b.comparisons)
	for round := range b.settings.rounds {
		for i := range b.comparisons {
			c := b.comparisons[(i+round)%len(b.comparisons)] // another neighbor's heat each round
			one, err := b.compare(ctx, c, round)
			if ctx.Err() != nil {
				return blocks, errors.New("interrupted")
			}
			done++
			if err != nil {
				failed = append(failed, fmt.Errorf("round %d: %w", round+1, err))
				lab.Say(b.progress, "%d of %d: %v", done, whole, failed[len(failed)-1])
				continue
			}
			blocks = append(blocks, one)
			left := time.Since(begun) / time.Duration(done) * time.Duration(whole-done)
			lab.Say(b.progress, "%d of %d, %s left: round %d, %s", done, whole, left.Round(time.Second), round+1, one.line(c))
		}
	}
	return blocks, errors.Join(failed...)
}

// line is a block in a line of progress.
func (b block) line(c comparison) string {
	switch c.method {
	case maximum:
		return fmt.Sprintf("%s: %.0f requests/s, beside it %.0f, ratio %.3f", c.name, b.rival.rate, b.base.rate, b.ratio(c.method))
	case loaded:
		return fmt.Sprintf("%s: p99 %.1f ms at %.0f requests/s, beside it %.1f ms, ratio %.3f", c.name, b.rival.p99, b.rival.rate,
			b.base.p99, b.ratio(c.method))
	default:
		return fmt.Sprintf("%s: %.1f us a request, beside it %.1f, ratio %.3f", c.name, b.rival.cpu, b.base.cpu, b.ratio(c.method))
	}
}
