// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// readyTimeout is how long a program may take from its start to its first answer.
	readyTimeout = 20 * time.Second
	// killAfter is how long it may take to stop.
	killAfter = 3 * time.Second
	// maxLog bounds what is kept of a program's output, to be shown if it does not start.
	maxLog = 4 << 10
	// attempts are the ports that are tried: between choosing one and listening on it, another program may take it.
	attempts = 3
)

// process is a child, in a process group of its own: Ctrl-C reaches this program first, which then stops its children
// with all their children.
type process struct {
	cmd   *exec.Cmd
	log   *tail
	ended chan struct{} // closed when it has ended and was waited for
}

// start runs a program with its configuration and whatever it keeps in folder.
func start(c command, folder string) (*process, error) {
	if err := os.WriteFile(filepath.Join(folder, c.file), []byte(c.text), 0o600); err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", c.path, err)
	}
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	return startCommand(cmd)
}

// startCommand keeps the end of the output, save where the command has a place for it.
func startCommand(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, log: new(tail), ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	cmd.Stderr = p.log
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

// stop asks the process to end and waits for it. What goes on is killed, with its children.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.ended:
	case <-time.After(killAfter):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // fails only if nothing is left of the group
	<-p.ended
}

// proxy is a contender that serves.
type proxy struct {
	*process
	url    string
	folder string
}

// stop leaves nothing behind.
func (p *proxy) stop() {
	p.process.stop()
	_ = os.RemoveAll(p.folder) // the folder around it is removed in the end, with a message
}

// startProxy starts a contender on a free port and waits for its first answer from an upstream.
func (b *bench) startProxy(ctx context.Context, c contender) (*proxy, error) {
	var err error
	for range attempts {
		var p *proxy
		if p, err = b.tryProxy(ctx, c); err == nil || ctx.Err() != nil {
			return p, err
		}
	}
	return nil, fmt.Errorf("%s: %w", c.title, err)
}

func (b *bench) tryProxy(ctx context.Context, c contender) (*proxy, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(b.folder, c.name)
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	running, err := start(c.command(b.programs, folder, port, b.origins.addresses), folder)
	if err != nil {
		return nil, err
	}
	p := &proxy{process: running, url: fmt.Sprintf("http://127.0.0.1:%d%s", port, path), folder: folder}
	if err := p.ready(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// freePort is one that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// ready waits until the proxy answers.
func (p *proxy) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	g, closeIdle := newGenerator(p.url)
	defer closeIdle()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !g.get(ctx, 0) {
		select {
		case <-p.ended:
			return fmt.Errorf("it did not start: %s", p.log)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no answer within %s: %s", readyTimeout, p.log)
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// tail keeps the end of what a program prints.
type tail struct {
	mutex sync.Mutex
	text  []byte // guarded by mutex
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-maxLog):]
	return len(p), nil
}

// String implements fmt.Stringer.
func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return string(bytes.TrimSpace(t.text))
}

// cpu is what the process and its children have used, in milliseconds; NaN where that cannot be read.
func (p *process) cpu() (float64, error) {
	used, err := cpuTime(p.cmd.Process.Pid)
	if errors.Is(err, errors.ErrUnsupported) {
		return math.NaN(), nil
	}
	return milliseconds(used), err
}

// perRequest is the CPU that one of so many requests took.
func perRequest(before, after float64, requests int) float64 {
	return (after - before) / float64(max(1, requests))
}
