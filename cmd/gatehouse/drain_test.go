// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// TestReadyFailsFirst ends the proxy as a service manager does: readiness must say 503 at once, while everything else is
// served until shutdown_delay is over, so that no request is lost while a load balancer moves away.
func TestReadyFailsFirst(t *testing.T) {
	const delay = 3 * time.Second
	address := gatehousetest.FreeAddress(t)
	caddyfile := filepath.Join(t.TempDir(), "Caddyfile")
	text := "{\n\tadmin off\n\tshutdown_delay 3s\n\tgrace_period 1s\n}\n\nhttp://" + address + " {\n\tready /ready\n\trespond app\n}\n"
	if err := os.WriteFile(caddyfile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, binary(t), "run", "--config", caddyfile)
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	eventually(t, 20*time.Second, "the proxy is ready", func() bool { status, _ := get("/ready"); return status == 200 })

	signaled := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, delay, "readiness fails", func() bool { status, _ := get("/ready"); return status == 503 })
	t.Logf("/ready says 503 %s after SIGTERM", time.Since(signaled))
	for time.Since(signaled) < delay/2 {
		if status, body := get("/"); status != 200 || body != "app" {
			t.Fatalf("%s after SIGTERM a request gets %d %q", time.Since(signaled), status, body)
		}
	}
	if code := p.exit(delay + 10*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
