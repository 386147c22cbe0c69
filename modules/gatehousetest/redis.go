// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Redis is a redis-server process of this test's own, on a free loopback port, without persistence unless asked for.
type Redis struct {
	// Address is its host and port.
	Address string

	t    testing.TB
	args []string
	dir  string
	cmd  *exec.Cmd
}

// StartRedis starts a redis-server with further arguments ("--appendonly", "yes") and kills it when the test ends. A missing
// program fails the test: a skipped one would pass for a tested one.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{t: t, Address: FreeAddress(t), args: args, dir: t.TempDir()}
	t.Cleanup(r.Kill)
	r.Start()
	return r
}

// URL is the redis:// URL of database 0.
func (r *Redis) URL() string { return "redis://" + r.Address + "/0" }

// Start starts the process, again after Kill on the same port and folder, and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatalf("this test needs a real redis-server on PATH (`make test` installs it): %v", err)
	}
	host, port, _ := strings.Cut(r.Address, ":")
	args := append([]string{
		"--bind", host, "--port", port, "--dir", r.dir, "--save", "", "--appendonly", "no", "--protected-mode", "no",
		"--logfile", filepath.Join(r.dir, "redis.log"),
	}, r.args...)
	r.cmd = exec.Command(program, args...)
	r.cmd.SysProcAttr = DieWithParent()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		answer, err := r.Command("PING")
		if err == nil && answer == "+PONG" {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(r.dir, "redis.log"))
			r.t.Fatalf("redis-server does not answer on %s: %q, %v\n%s", r.Address, answer, err, log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Command sends one inline command on a connection of its own and returns the first line of the answer.
func (r *Redis) Command(line string) (string, error) {
	conn, err := net.DialTimeout("tcp", r.Address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimRight(answer, "\r\n"), err
}

// Kill ends the process at once, as a crash would. It does nothing if none runs.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	// Both may fail only because the process is gone, which is what is wanted.
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// Pause stops the process without closing its connections, as a stalled machine would; Resume lets it go on.
func (r *Redis) Pause() { r.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (r *Redis) Resume() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}
