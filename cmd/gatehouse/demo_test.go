// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// demo is a running `origin demo`, which is what `make run` runs, on ports of its own.
type demo struct {
	*process
	addresses []string // of the proxy and of its admin endpoint
	folder    string   // its temporary files
}

func startDemo(t *testing.T, program string) *demo {
	t.Helper()
	d := &demo{addresses: []string{gatehousetest.FreeAddress(t), gatehousetest.FreeAddress(t)}, folder: t.TempDir()}
	cmd := exec.Command(program, "demo", "--gatehouse", binary(t), "--config", filepath.Join(root, "caddyfiles", "demo.caddyfile"),
		"--port", port(d.addresses[0]), "--admin-port", port(d.addresses[1]))
	cmd.Env = append(os.Environ(), "TMPDIR="+d.folder)
	if cmd.SysProcAttr = gatehousetest.DieWithParent(); cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // so that the test can do what a terminal does at Ctrl-C
	d.process = begin(t, cmd)
	d.says("Ctrl-C stops everything.")
	return d
}

func port(address string) string {
	_, port, _ := strings.Cut(address, ":")
	return port
}

func buildOrigin(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "origin")
	if out, err := exec.Command("go", "build", "-o", program, module+"/cmd/origin").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// printed is a line to try and the status that the demo says it shows.
var printed = regexp.MustCompile(`(?m)^(curl .*)\n    -> (\d+): `)

func TestDemo(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatalf("this test runs the printed lines and needs curl (apt-get install curl): %v", err)
	}
	program := buildOrigin(t)
	for name, end := range map[string]func(d *demo) error{
		// A terminal sends Ctrl-C to every process of the group, the proxy among them.
		"Ctrl-C":  func(d *demo) error { return syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT) },
		"SIGTERM": func(d *demo) error { return d.cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			d := startDemo(t, program)
			tryLines(t, d)
			if err := end(d); err != nil {
				t.Fatal(err)
			}
			if code := d.exit(10 * time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			leavesNothing(t, d)
		})
	}
}

// tryLines runs what the demo prints, as it is printed, in its order and twice.
func tryLines(t *testing.T, d *demo) {
	t.Helper()
	lines := printed.FindAllStringSubmatch(d.out.String(), -1)
	if len(lines) != 3 {
		t.Fatalf("%d lines to try, want 3", len(lines))
	}
	for _, line := range append(lines, lines...) {
		cmd := exec.Command("sh", "-c", line[1])
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "HTTP/1.1 "+line[2]+" ") {
			t.Errorf("%s\nshould answer %s: %v\n%s", line[1], line[2], err, out)
		}
		if strings.Contains(string(out), "200 OK") && strings.Contains(line[1], d.addresses[0]) && !strings.Contains(string(out), "X-Origin: ") {
			t.Errorf("%s\ndoes not say which application answered:\n%s", line[1], out)
		}
	}
}

// leavesNothing looks for the proxy's ports, its process and its files.
func leavesNothing(t *testing.T, d *demo) {
	t.Helper()
	for _, address := range d.addresses {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("something still listens on %s", address)
		}
	}
	if err := syscall.Kill(-d.cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("a process of the group is left (%v)", err)
	}
	files, err := os.ReadDir(d.folder)
	if err != nil || len(files) != 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
}

func TestDemoPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken, free := port(l.Addr().String()), port(gatehousetest.FreeAddress(t))
	program := buildOrigin(t)
	for option, args := range map[string][]string{
		"--port":       {"--port", taken, "--admin-port", free},
		"--admin-port": {"--port", free, "--admin-port", taken},
	} {
		p := start(t, program, append([]string{"demo", "--gatehouse", binary(t)}, args...)...)
		code := p.exit(10 * time.Second)
		if got := p.err.String(); code != 1 || !strings.Contains(got, "port "+taken+" is taken") ||
			!strings.HasSuffix(got, "another one with "+option+"\n") || strings.Count(got, "\n") != 1 {
			t.Errorf("exit code %d and %q", code, got)
		}
	}
}
