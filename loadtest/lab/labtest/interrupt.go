// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package labtest is what the tests of the load tests share.
package labtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// programVariable has a test's program be the load test itself.
const programVariable = "GATEHOUSE_LOADTEST_PROGRAM"

// Main runs the tests, or the load test if Interrupt started this process. A TestMain calls it.
func Main(m *testing.M, program func()) {
	if os.Getenv(programVariable) != "" {
		program()
		return
	}
	os.Exit(m.Run())
}

// Interruption is a run that a signal ends.
type Interruption struct {
	Name      string // of the program, with which its last line begins
	Args      []string
	After     string // sent once this stands in the progress,
	Processes int    // and so many processes run
	Signal    syscall.Signal
	Output    string // has to stand in what it prints
}

// patience bounds a start, and an end.
const patience = time.Minute

// Run starts the program in the repository's root and interrupts it: it has to end by itself with status 1, say so in its last line,
// and leave nothing, neither processes nor files.
func (i Interruption) Run(t *testing.T) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rest := t.TempDir()
	var stdout, stderr gatehousetest.Buffer
	cmd := exec.Command(program, i.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join("..", ".."), &stdout, &stderr
	cmd.Env = append(os.Environ(), programVariable+"=1", "TMPDIR="+rest)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { end(rest) }) // what a failed test leaves
	for deadline := time.Now().Add(patience); !strings.Contains(stderr.String(), i.After) || len(processes(rest)) < i.Processes; {
		select {
		case err := <-ended:
			t.Fatalf("it ended before %q: %v\n%s", i.After, err, stderr.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q, or no %d processes, within %s:\n%s", i.After, i.Processes, patience, stderr.String())
		}
	}
	if err := cmd.Process.Signal(i.Signal); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("it goes on after %s:\n%s", i.Signal, stderr.String())
	}
	if got := cmd.ProcessState.ExitCode(); got != 1 {
		t.Errorf("status %d, want 1:\n%s", got, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if got, want := lines[len(lines)-1], i.Name+": interrupted"; got != want {
		t.Errorf("the last line is %q, want %q", got, want)
	}
	if !strings.Contains(stdout.String(), i.Output) {
		t.Errorf("what was measured is not told: no %q in %q", i.Output, stdout.String())
	}
	if left := processes(rest); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if left, err := os.ReadDir(rest); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

// processes are those with a folder for temporary files of their own in their environment, or that stand in it: Redis overwrites
// its environment. They are told by their command lines.
func processes(folder string) map[int]string {
	found := map[int]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is right
	for _, file := range files {
		process := filepath.Dir(file)
		text, _ := os.ReadFile(file) // of one that has ended, or is not ours: nothing
		stands, _ := os.Readlink(filepath.Join(process, "cwd"))
		if !bytes.Contains(text, []byte("TMPDIR="+folder+"\x00")) && !strings.HasPrefix(stands, folder+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		found[pid] = string(bytes.ReplaceAll(line, []byte{0}, []byte(" ")))
	}
	return found
}

func end(folder string) {
	for pid := range processes(folder) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // fails only if it is gone
	}
}
