// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-proxy/gatehouse"
	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// Environment of a proxy process.
const (
	proxyVariable = "GATEHOUSE_CHAOS_PROXY" // the config file; its presence makes this program a proxy
	diskVariable  = "GATEHOUSE_CHAOS_DISK"  // a folder that gets a small disk of its own, which ends with the process
)

// startTimeout bounds a proxy's start.
const startTimeout = 20 * time.Second

// runProxy is the whole of a proxy process.
func runProxy() {
	if folder := os.Getenv(diskVariable); folder != "" {
		if err := mountSmallDisk(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(noDisk)
		}
	}
	os.Args = []string{"gatehouse", "run", "--adapter", "caddyfile", "--config", os.Getenv(proxyVariable)}
	caddycmd.Main()
}

// proxy is one that is killed and started again, on the same addresses.
type proxy struct {
	number         int
	address, admin string
	folder         string
	caddyfile      func(p *proxy, version int) string
	ownDisk        bool // its spool is on a small disk

	version int
	running *lab.Process
	up      atomic.Int64 // when it began to serve, in Unix nanoseconds; 0 while it does not
}

// spool is where its log lines wait.
func (p *proxy) spool() string { return filepath.Join(p.folder, "disk", "spool") }

func (p *proxy) start(ctx context.Context) error {
	file := filepath.Join(p.folder, "Caddyfile")
	if err := os.MkdirAll(filepath.Join(p.folder, "disk"), 0o700); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if err := os.WriteFile(file, []byte(p.caddyfile(p, p.version)), 0o600); err != nil {
		return fmt.Errorf("writing a configuration: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), proxyVariable+"="+file, "XDG_DATA_HOME="+p.folder, "XDG_CONFIG_HOME="+p.folder)
	if p.ownDisk {
		cmd.Env = append(cmd.Env, diskVariable+"="+filepath.Join(p.folder, "disk"))
		cmd.SysProcAttr = withOwnMounts(lab.OwnGroup())
	}
	if p.running, err = lab.StartCommand(cmd); err != nil {
		return err
	}
	for deadline := time.Now().Add(startTimeout); ; {
		if p.answers(ctx) {
			p.up.Store(time.Now().UnixNano())
			return nil
		}
		select {
		case <-p.running.Ended:
			return fmt.Errorf("proxy %d ended with status %d: %s", p.number, p.running.Status(), p.running.Log)
		default:
		}
		if time.Now().After(deadline) || !lab.SleepUntil(ctx, time.Now().Add(10*time.Millisecond)) {
			return fmt.Errorf("proxy %d does not answer: %s", p.number, p.running.Log)
		}
	}
}

// answers is whether it serves and takes orders: Caddy's servers and its admin endpoint are there before all apps have started,
// and /config/ answers when they have.
func (p *proxy) answers(ctx context.Context) bool {
	status, _, err := ask(ctx, http.MethodGet, "http://"+p.address+"/ready", "", "")
	if err != nil || status != http.StatusOK && status != http.StatusServiceUnavailable {
		return false
	}
	status, _, err = ask(ctx, http.MethodGet, "http://"+p.admin+"/config/", "", "")
	return err == nil && status == http.StatusOK
}

// kill ends it as a crash would.
func (p *proxy) kill() {
	p.up.Store(0)
	p.running.Kill()
	<-p.running.Ended
}

// servesFor tells for how long it has served.
func (p *proxy) servesFor() time.Duration {
	since := p.up.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// reload replaces the configuration by one that differs.
func (p *proxy) reload(ctx context.Context) error {
	p.version++
	status, answer, err := p.load(ctx, p.caddyfile(p, p.version))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, answer)
	}
	if err != nil {
		return fmt.Errorf("reloading proxy %d: %w", p.number, err)
	}
	return nil
}

func (p *proxy) load(ctx context.Context, caddyfile string) (status int, answer string, err error) {
	return ask(ctx, http.MethodPost, "http://"+p.admin+"/load", "text/caddyfile", caddyfile)
}

// order asks the admin endpoint for something; v is the body, as JSON.
func (p *proxy) order(ctx context.Context, method, path string, v any) error {
	body, kind := "", ""
	if v != nil {
		text, err := json.Marshal(v)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		body, kind = string(text), "application/json"
	}
	status, answer, err := ask(ctx, method, "http://"+p.admin+path, kind, body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, answer)
	}
	if err != nil {
		return fmt.Errorf("%s %s of proxy %d: %w", method, path, p.number, err)
	}
	return nil
}

// dropped is how many lines its spool says that it has dropped, and whether it can store lines now.
func (p *proxy) dropped(ctx context.Context) (lines uint64, open bool, err error) {
	_, answer, err := ask(ctx, http.MethodGet, "http://"+p.admin+"/gatehouse/logs", "", "")
	var spools []struct {
		State string
		Sinks []struct{ Dropped uint64 }
	}
	if err == nil {
		err = json.Unmarshal([]byte(answer), &spools)
	}
	if err != nil || len(spools) != 1 || len(spools[0].Sinks) != 1 {
		return 0, false, fmt.Errorf("reading the status of the spool of proxy %d: %q: %w", p.number, answer, err)
	}
	return spools[0].Sinks[0].Dropped, spools[0].State == "open", nil
}

// ask makes one request on a connection of its own, which must do no harm if made twice. A reload gives Caddy's admin endpoint
// another socket, and resets connections that wait in the queue of the one before, unanswered: then it asks again.
func ask(ctx context.Context, method, url, kind, body string) (status int, answer string, err error) {
	for range 3 {
		if status, answer, err = askOnce(ctx, method, url, kind, body); !errors.Is(err, syscall.ECONNRESET) {
			break
		}
	}
	return status, answer, err
}

func askOnce(ctx context.Context, method, url, kind, body string) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, "", err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(bytes.TrimSpace(text)), err
}
