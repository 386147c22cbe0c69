// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// TestReadme runs the commands of README's first screen, in front of two demo applications, and compares what they print.
// Only the ports differ from what the page says, and the tenants' names: a key's upstream depends on its address.
func TestReadme(t *testing.T) {
	if out, err := exec.Command("curl", "-so", os.DevNull, "-w", "%header{x}", "file:///dev/null").CombinedOutput(); err != nil {
		t.Fatalf("this test needs curl (apt-get install curl): %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := snippet.FindAllStringSubmatch(string(text), 2)
	if len(blocks) != 2 || blocks[0][1] != "caddyfile" || blocks[1][1] != "console" {
		t.Fatal("README does not begin with a Caddyfile and a console")
	}
	shell := newReadmeShell(t, blocks[0][2])
	transcript := shell.ports.Replace(blocks[1][2])
	steps := regexp.MustCompile(`(?m)^\$ `).Split(transcript, -1)[1:]
	if len(steps) < 5 {
		t.Fatalf("only %d commands", len(steps))
	}
	tenants := strings.NewReplacer()
	for i, step := range steps {
		if i == 1 {
			tenants = shell.tenants()
		}
		command, want, _ := strings.Cut(tenants.Replace(step), "\n")
		if got := shell.run(command); !matches(got, want) {
			t.Errorf("$ %s\n--- prints\n%s--- README says\n%s", command, got, want)
		}
	}
}

// matches compares output with what a page says, where "..." stands for anything; a last line may lack its end.
func matches(got, want string) bool {
	got = strings.TrimRight(got, "\n")
	parts := strings.Split(strings.TrimRight(want, "\n"), "...")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(parts, ".*") + `$`).MatchString(got)
}

// readmeShell runs commands in a folder with the page's Caddyfile, with the proxy on PATH.
type readmeShell struct {
	t      *testing.T
	folder string
	env    []string
	ports  *strings.Replacer
}

func newReadmeShell(t *testing.T, caddyfile string) *readmeShell {
	t.Helper()
	proxy, a, b := gatehousetest.FreeAddress(t), gatehousetest.FreeAddress(t), gatehousetest.FreeAddress(t)
	origin := start(t, buildOrigin(t), "--name", "a,b", "--listen", a+","+b)
	origin.says("listening b")
	s := &readmeShell{t: t, folder: t.TempDir(), ports: strings.NewReplacer("8080", port(proxy), "9001", port(a), "9002", port(b))}
	if err := os.WriteFile(filepath.Join(s.folder, "Caddyfile"), []byte(s.ports.Replace(caddyfile)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"), "CADDY_ADMIN="+gatehousetest.FreeAddress(t),
		"HOME="+s.folder, "XDG_DATA_HOME="+s.folder, "XDG_CONFIG_HOME="+s.folder)
	t.Cleanup(func() {
		s.run("gatehouse stop")
		eventually(t, 10*time.Second, "the proxy is gone", func() bool {
			resp, err := http.Get("http://" + proxy)
			if err == nil {
				resp.Body.Close()
			}
			return err != nil
		})
	})
	return s
}

// tenants finds names that go where the page says that blue and white go.
func (s *readmeShell) tenants() *strings.Replacer {
	s.t.Helper()
	found := map[string]string{}
	for i := 0; len(found) < 2 && i < 100; i++ {
		name := fmt.Sprint("tenant", i)
		found[s.run(s.ports.Replace("curl -so /dev/null -w '%header{x-origin}' -H 'X-Tenant: "+name+"' localhost:8080"))] = name
	}
	if found["a"] == "" || found["b"] == "" {
		s.t.Fatalf("100 tenants go to %v", found)
	}
	return strings.NewReplacer("blue", found["a"], "white", found["b"])
}

// run returns what a command prints to stdout; a failing one fails the test.
func (s *readmeShell) run(command string) string {
	s.t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir, cmd.Env = s.folder, s.env
	cmd.WaitDelay = 5 * time.Second // `start` leaves the proxy behind, which must not keep the pipe
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 0 {
		s.t.Errorf("$ %s\n%v\n%s", command, err, problems.String())
	}
	return string(out)
}
