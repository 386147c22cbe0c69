// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// loadTimeout bounds the time in which Redis reads millions of lines from its disk.
const loadTimeout = 5 * time.Minute

// redisServer is a Redis that writes each command to its disk before it answers, so that it may be killed.
type redisServer struct {
	address, folder string
	cmd             *exec.Cmd
}

func startRedis(folder string) (*redisServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &redisServer{address: l.Addr().String(), folder: folder}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return r, r.start()
}

func (r *redisServer) start() error {
	_, port, err := net.SplitHostPort(r.address)
	if err != nil {
		return err
	}
	r.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", r.folder, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	r.cmd.SysProcAttr = lab.OwnGroup()
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("starting redis-server: %w", err)
	}
	client := goredis.NewClient(&goredis.Options{Addr: r.address})
	defer client.Close()
	for deadline := time.Now().Add(loadTimeout); ; time.Sleep(10 * time.Millisecond) {
		err := client.Ping(context.Background()).Err()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("redis-server does not answer: %w", err)
		}
	}
}

func (r *redisServer) signal(s os.Signal) error {
	if err := r.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("sending redis-server %s: %w", s, err)
	}
	return nil
}

func (r *redisServer) kill() {
	_ = r.cmd.Process.Kill() // fails only if it is gone
	_ = r.cmd.Wait()
}
