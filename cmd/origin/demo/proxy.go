// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// killAfter is how long the proxy may take to stop: the grace period of the demo's Caddyfile, and a little more.
const killAfter = 5 * time.Second

// proxy is the child process.
type proxy struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended and was waited for
}

// startProxy starts it with the addresses of the applications in its environment. What it keeps goes into folder, what it
// logs to stderr.
func (s settings) startProxy(applications []string, folder string, stderr io.Writer) (*proxy, error) {
	p := &proxy{
		cmd:   exec.Command(s.gatehouse, "run", "--config", s.caddyfile, "--adapter", "caddyfile"),
		ended: make(chan struct{}),
	}
	p.cmd.Env = append(
		os.Environ(),
		"ORIGIN_A="+applications[0], "ORIGIN_B="+applications[1],
		"DEMO_PORT="+strconv.Itoa(s.port), "DEMO_ADMIN_PORT="+strconv.Itoa(s.adminPort),
		"XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder, "XDG_CACHE_HOME="+folder,
	)
	p.cmd.Stdout, p.cmd.Stderr = stderr, stderr
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the proxy, which `make build` builds: %w", err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

// stop asks the proxy to end and waits for it. One that goes on is killed.
func (p *proxy) stop() {
	if p.cmd.Process.Signal(syscall.SIGTERM) == nil {
		select {
		case <-p.ended:
			return
		case <-time.After(killAfter):
		}
	}
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.ended
}
