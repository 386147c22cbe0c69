// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// world is all processes of a run, and what breaks them.
type world struct {
	settings
	app     *application
	relay   *relay
	redis   *process
	proxies []*process
	folder  string

	kills, cuts, restarts atomic.Int64
	requests              atomic.Int64
}

// process is a child that is killed and started again.
type process struct {
	address string
	command func() *exec.Cmd

	mu  sync.Mutex
	cmd *exec.Cmd
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.command()
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	p.cmd = cmd
	return nil
}

func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // fails only if it is gone
	_ = p.cmd.Wait()
	p.cmd = nil
}

// answers waits until the process accepts connections.
func (p *process) answers(ctx context.Context) error {
	for {
		conn, err := net.DialTimeout("tcp", p.address, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.address, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// freeAddress returns an address of a loopback network that no connection goes out from, so that its port stays free.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s settings) build(ctx context.Context) (*world, error) {
	w := &world{settings: s}
	var err error
	if w.folder, err = os.MkdirTemp("", "idempotency"); err != nil {
		return nil, err
	}
	if w.app, err = startApplication(s.seed, s.faults.upstream); err != nil {
		return w, err
	}
	if err := w.buildRedis(); err != nil {
		return w, err
	}
	for range s.proxies {
		if err := w.buildProxy(proxyConfig{Redis: w.relay.address}); err != nil {
			return w, err
		}
	}
	return w, w.startAll(ctx)
}

// startAll starts all processes, and returns when they answer.
func (w *world) startAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, p := range append([]*process{w.redis}, w.proxies...) {
		if err := errors.Join(p.start(), p.answers(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) buildRedis() error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(address, ":")
	w.redis = &process{address: address, command: func() *exec.Cmd {
		return exec.Command("redis-server", "--bind", host, "--port", port, "--dir", w.folder, "--save", "",
			"--appendonly", "yes", "--appendfsync", "always", "--logfile", filepath.Join(w.folder, "redis.log"))
	}}
	w.relay, err = startRelay(address)
	return err
}

// buildProxy adds a proxy process; the configuration says which Redis it uses, and the rest is filled in.
func (w *world) buildProxy(c proxyConfig) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	c.Algorithm, c.Listen, c.Application = w.algorithm, address, w.app.address
	if _, err := c.caddyfile(); err != nil {
		return err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	w.proxies = append(w.proxies, &process{address: address, command: func() *exec.Cmd {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), proxyVariable+"="+string(config), "GOMAXPROCS=2", "XDG_DATA_HOME="+w.folder)
		return cmd
	}})
	return nil
}

// tearDown ends everything.
func (w *world) tearDown() {
	for _, p := range append([]*process{w.redis}, w.proxies...) {
		if p != nil {
			p.kill()
		}
	}
	if w.relay != nil {
		w.relay.close()
	}
	if w.app != nil {
		_ = w.app.server.Close()
	}
	_ = os.RemoveAll(w.folder)
}

// breakThings carries the faults out until ctx ends, and leaves everything whole.
func (w *world) breakThings(ctx context.Context) {
	var group sync.WaitGroup
	each := func(every time.Duration, purpose uint64, fault func(chance *rand.Rand)) {
		if every == 0 {
			return
		}
		group.Go(func() {
			chance := rand.New(rand.NewPCG(w.seed, purpose))
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(every/2 + time.Duration(chance.Int64N(int64(every)))):
					fault(chance)
				}
			}
		})
	}
	each(w.faults.kill, 1, func(chance *rand.Rand) {
		p := w.proxies[chance.IntN(len(w.proxies))]
		p.kill()
		w.kills.Add(1)
		_ = p.start() // a run without it would show as wedged keys
	})
	each(w.faults.cut, 2, func(*rand.Rand) {
		w.relay.cut()
		w.cuts.Add(1)
	})
	each(w.faults.restart, 3, func(*rand.Rand) {
		w.redis.kill()
		w.restarts.Add(1)
		_ = w.redis.start() // as above
	})
	group.Wait()
}

// relay stands between proxies and Redis, and cuts their connections.
type relay struct {
	address string
	target  string

	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]bool
}

func startRelay(target string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{address: listener.Addr().String(), target: target, listener: listener, conns: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r, nil
}

func (r *relay) serve(conn net.Conn) {
	defer conn.Close()
	to, err := net.DialTimeout("tcp", r.target, time.Second)
	if err != nil {
		return
	}
	defer to.Close()
	r.mu.Lock()
	r.conns[conn] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, conn)
	}()
	go func() {
		_, _ = io.Copy(to, conn) // ends with either connection, as does the other
		_ = to.Close()
	}()
	_, _ = io.Copy(conn, to)
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.cut()
}
