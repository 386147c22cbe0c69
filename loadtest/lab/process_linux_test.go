// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "4242 (a (b) c) S 1 4200 4200 0 -1 4194560 2911 0 0 0 123 45 7 8 20 0 9 0 88 1000 777 3"
	got, ok := parseStat(line)
	if want := (stat{group: 4200, used: 1680 * time.Millisecond, pages: 777}); !ok || got != want {
		t.Errorf("got %+v, %t; want %+v", got, ok, want)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", strings.Replace(line, "123", "x", 1)} {
		if _, ok := parseStat(bad); ok {
			t.Errorf("%q was read", bad)
		}
	}
}

// startShell runs a shell that starts a child, and returns when the child is there.
func startShell(t *testing.T, script string) (p *Process, child int) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = writer
	p, err = StartCommand(cmd)
	writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if child, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return p, child
}

// A child that the shell does not stop, as nginx's workers when their master is killed, ends with it.
func TestStopLeavesNoChild(t *testing.T) {
	p, child := startShell(t, `sleep 600 2>/dev/null & echo $!; wait`)
	p.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ended(child) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the child lives on")
		}
	}
}

// ended counts a process that nobody has waited for.
func ended(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(text), ") Z ")
}

func TestCPUTimeCountsChildren(t *testing.T) {
	p, _ := startShell(t, `(while :; do :; done) 2>/dev/null & echo $!; wait`)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		used, err := cpuTime(p.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if used >= 50*time.Millisecond {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a busy child used %s", used)
		}
	}
}

func TestResidentCountsChildren(t *testing.T) {
	p, child := startShell(t, `sleep 600 2>/dev/null & echo $!; wait`)
	both, err := p.Resident()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	one, ok := parseStat(string(text))
	if !ok || both <= float64(one.pages)*float64(os.Getpagesize()) {
		t.Errorf("both hold %g bytes, the child alone %d pages", both, one.pages)
	}
}

func TestLogKeepsTheEnd(t *testing.T) {
	var log tail
	for range 3 * maxLog {
		if _, err := log.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.Write([]byte("cannot bind\n")); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); len(got) != maxLog-1 || !strings.HasSuffix(got, "xcannot bind") {
		t.Errorf("%d bytes that end in %q", len(got), got[max(0, len(got)-20):])
	}
}
