// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// buildFolder holds the program that the end-to-end tests run; built makes it at the first use.
var (
	buildFolder string
	built       = sync.OnceValues(build)
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	folder, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	buildFolder = folder
	return m.Run()
}

func build() (string, error) {
	program := filepath.Join(buildFolder, "gatehouse")
	cmd := exec.Command("go", "build", "-tags", "nobadger,nomysql,nopgx", "-o", program, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// binary returns the path of the proxy, built once for all tests of this process.
func binary(t testing.TB) string {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// process is a program that a test has started and that does not outlive it.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, err gatehousetest.Buffer
	ended    chan struct{} // closed after Wait
}

// start runs a program with folders of its own for whatever it keeps, and kills it when the test ends.
func start(t testing.TB, program string, args ...string) *process {
	t.Helper()
	cmd, home := exec.Command(program, args...), t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	cmd.SysProcAttr = gatehousetest.DieWithParent()
	return begin(t, cmd)
}

// begin is start for a command that is set up already.
func begin(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails only if it has ended
		<-p.ended
		if t.Failed() {
			t.Logf("%s\n%s%s", strings.Join(cmd.Args, " "), p.out.String(), p.err.String())
		}
	})
	return p
}

// says waits until the program has printed text to stdout or stderr.
func (p *process) says(text string) {
	p.t.Helper()
	eventually(p.t, 20*time.Second, "the program prints "+text, func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("the program ended before it printed %q", text)
		default:
		}
		return strings.Contains(p.out.String(), text) || strings.Contains(p.err.String(), text)
	})
}

// stop sends a signal and returns the exit code; it fails the test if the program runs on for longer than limit.
func (p *process) stop(signal syscall.Signal, limit time.Duration) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	return p.exit(limit)
}

// exit waits for the program's end and returns its exit code.
func (p *process) exit(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("the program still runs after %s", limit)
		return -1
	}
}

// eventually asks every few milliseconds until done says yes, and fails the test when limit has passed.
func eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", limit, what)
		}
	}
}
