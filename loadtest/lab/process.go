// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// killAfter is how long a program may take to stop.
	killAfter = 3 * time.Second
	// maxLog bounds what is kept of a program's output, to be shown if it does not start.
	maxLog = 4 << 10
)

// Process is a child, in a process group of its own: Ctrl-C reaches this program first, which then stops its children
// with all their children.
type Process struct {
	Log   fmt.Stringer    // the end of its output
	Ended <-chan struct{} // closed when it has ended and was waited for

	cmd *exec.Cmd
}

// StartCommand starts one. It keeps the end of the output, save where the command has a place for it. A command that needs
// more of the system than OwnGroup adds to that.
func StartCommand(cmd *exec.Cmd) (*Process, error) {
	log, ended := new(tail), make(chan struct{})
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = OwnGroup()
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
	}()
	return &Process{Log: log, Ended: ended, cmd: cmd}, nil
}

// Stop asks the process to end and waits for it. What goes on is killed, with its children.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.Ended:
	case <-time.After(killAfter):
	}
	p.Kill()
	<-p.Ended
}

// Kill ends the process and its children as a crash would, and does not wait.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // fails only if nothing is left of the group
}

// Signal sends a signal to the process itself.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// ID is the process's number.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Status is the exit status of a process that has ended, -1 of one that a signal ended.
func (p *Process) Status() int { return p.cmd.ProcessState.ExitCode() }

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

// CPU is what the process and its children have used, in milliseconds; NaN where that cannot be read.
func (p *Process) CPU() (float64, error) {
	used, err := cpuTime(p.cmd.Process.Pid)
	if errors.Is(err, errors.ErrUnsupported) {
		return math.NaN(), nil
	}
	return Milliseconds(used), err
}

// Resident is the memory that the process and its children hold, in bytes; what two of them share counts
// twice. NaN where that cannot be read.
func (p *Process) Resident() (float64, error) {
	held, err := resident(p.cmd.Process.Pid)
	if errors.Is(err, errors.ErrUnsupported) {
		return math.NaN(), nil
	}
	return float64(held), err
}

// PerRequest is the CPU that one of so many requests took.
func PerRequest(before, after float64, requests int) float64 {
	return (after - before) / float64(max(1, requests))
}
