// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	// readyTimeout is how long a program may take from its start to its first answer.
	readyTimeout = 20 * time.Second
	// attempts are the ports that are tried: between choosing one and listening on it, another program may take it.
	attempts = 3
)

// Command is a program's start.
type Command struct {
	Path string
	Args []string
	Env  []string // besides this program's own
	File string   // name of the configuration, written into the proxy's folder before
	Text string
}

// Setup is how a proxy is started.
type Setup struct {
	Name   string // of its folder
	Within string // the folder that its own is made in
	Path   string // what to ask for, to see whether it serves
	// Command configures it to keep its files in a folder and to listen on a port of 127.0.0.1.
	Command func(folder string, port int) (Command, error)
}

// Proxy is one that serves.
type Proxy struct {
	*Process
	Base   string // its URL without a path
	URL    string // with the path of its setup
	Folder string // what it keeps; removed by Stop
}

// Stop leaves nothing behind.
func (p *Proxy) Stop() {
	p.Process.Stop()
	_ = os.RemoveAll(p.Folder) // the folder around it is removed in the end, with a message
}

// StartProxy starts one on a free port and waits for its first answer.
func StartProxy(ctx context.Context, s Setup) (*Proxy, error) {
	var err error
	for range attempts {
		var p *Proxy
		if p, err = tryProxy(ctx, s); err == nil || ctx.Err() != nil {
			return p, err
		}
	}
	return nil, fmt.Errorf("starting %s: %w", s.Name, err)
}

func tryProxy(ctx context.Context, s Setup) (*Proxy, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(s.Within, s.Name)
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	c, err := s.Command(folder, port)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, c.File), []byte(c.Text), 0o600); err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", c.Path, err)
	}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	running, err := StartCommand(cmd)
	if err != nil {
		return nil, err
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	p := &Proxy{Process: running, Base: base, URL: base + s.Path, Folder: folder}
	if err := p.ready(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// FreePort is one that was free a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// ready waits until the proxy answers.
func (p *Proxy) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	g, closeIdle := NewGenerator(p.URL)
	defer closeIdle()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !g.Get(ctx, 0) {
		select {
		case <-p.Ended:
			return fmt.Errorf("it did not start: %s", p.Log)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no answer within %s: %s", readyTimeout, p.Log)
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
