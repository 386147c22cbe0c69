// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-proxy/gatehouse"
	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// proxyVariable, set, has this program be the proxy: Gatehouse with the control writer in it. Its value is the config file.
const proxyVariable = "GATEHOUSE_LOADTEST_PROXY"

// readyTimeout bounds a proxy's start.
const readyTimeout = 30 * time.Second

func runProxy() {
	caddy.RegisterModule(channelWriter{})
	os.Args = []string{"gatehouse", "run", "--adapter", "caddyfile", "--config", os.Getenv(proxyVariable)}
	caddycmd.Main()
}

// proxy is one process with one writer, which is started again after each death.
type proxy struct {
	name          string
	writer        string // its lines in the Caddyfile; %d is a number that a reload changes
	number        int    // and this its value in the first config
	folder        string
	address       string
	admin         string
	redis         string
	cmd           *exec.Cmd
	configVersion int
	peak          int64 // the most memory that any of the processes before this one had
}

func newProxy(name, folder, redis, writer string, number int) (*proxy, error) {
	p := &proxy{name: name, writer: writer, number: number, folder: filepath.Join(folder, name), redis: redis}
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		return nil, err
	}
	for _, address := range []*string{&p.address, &p.admin} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*address = l.Addr().String()
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return p, p.start()
}

// config is the Caddyfile, with an option that differs from version to version.
func (p *proxy) config() string {
	return fmt.Sprintf("{\n admin %s\n persist_config off\n auto_https off\n grace_period 2s\n redis redis://%s/0\n log {\n level ERROR\n }\n}\n"+
		"http://%s {\n log {\n output %s\n }\n respond ok\n}\n", p.admin, p.redis, p.address, fmt.Sprintf(p.writer, p.number+p.configVersion%2))
}

func (p *proxy) start() error {
	file := filepath.Join(p.folder, "Caddyfile")
	if err := os.WriteFile(file, []byte(p.config()), 0o600); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	output, err := os.OpenFile(filepath.Join(p.folder, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close() // the child has its own
	p.cmd = exec.Command(program)
	p.cmd.Env = append(os.Environ(), proxyVariable+"="+file, "XDG_DATA_HOME="+p.folder, "XDG_CONFIG_HOME="+p.folder)
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.SysProcAttr = lab.OwnGroup()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(output.Name())
			return fmt.Errorf("%s does not start: %w\n%.2000s", p.name, err, text)
		}
	}
}

// end sends a signal and waits until the process is gone.
func (p *proxy) end(signal syscall.Signal) {
	p.peak = p.memory().peak
	_ = p.cmd.Process.Signal(signal) // fails only if it is gone
	_ = p.cmd.Wait()                 // how it ended is in its output
}

// reload replaces the config by one with another option.
func (p *proxy) reload() error {
	p.configVersion++
	answer, err := http.Post("http://"+p.admin+"/load", "text/caddyfile", bytes.NewReader([]byte(p.config())))
	if err != nil {
		return fmt.Errorf("reloading %s: %w", p.name, err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		return fmt.Errorf("reloading %s: %s: %s", p.name, answer.Status, text)
	}
	return nil
}

// usage is the memory of a process, in bytes.
type usage struct {
	rss       int64 // that is present
	anonymous int64 // of that, what no file stands behind
	peak      int64 // the most that was present
}

func (u usage) String() string {
	return fmt.Sprintf("RSS %d MiB of which anonymous %d MiB, %d MiB at most", u.rss>>20, u.anonymous>>20, u.peak>>20)
}

// memory tells the memory of the process; its peak is that of all processes so far: proc_pid_status(5).
func (p *proxy) memory() usage {
	u := usage{peak: p.peak}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return u // it is gone
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			u.rss = kib << 10
		case "RssAnon:":
			u.anonymous = kib << 10
		case "VmHWM:":
			u.peak = max(u.peak, kib<<10)
		}
	}
	return u
}
