// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// What is tested here are binaries that `make dist` builds, without the race detector in any case: once is enough.
//go:build !race

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

const testVersion = "v1.2.3-test"

// TestMakeDist makes a release for this machine twice, by the command that a user types, and tries what came out.
func TestMakeDist(t *testing.T) {
	began := time.Now()
	out := makeDist(t, "TZ=UTC", "TMPDIR="+t.TempDir())
	took := time.Since(began)
	again := makeDist(t, "TZ=Asia/Tokyo", "TMPDIR="+t.TempDir())
	t.Logf("make dist for %s took %v", host(), took.Round(time.Millisecond))

	t.Run("the same bytes again", func(t *testing.T) { sameFiles(t, out, again) })
	t.Run("checksums", func(t *testing.T) { runIn(t, out, "sha256sum", "--strict", "--check", "SHA256SUMS") })
	t.Run("archive", func(t *testing.T) { tryArchive(t, out) })
	t.Run("bill of materials", func(t *testing.T) { tryBill(t, out) })
	if runtime.GOOS != "linux" {
		return
	}
	root := t.TempDir()
	t.Run("package", func(t *testing.T) { unpackDeb(t, out, root) })
	t.Run("unit", func(t *testing.T) { verifyUnit(t, root) })
	t.Run("service", func(t *testing.T) { serve(t, root) })
}

func makeDist(t *testing.T, env ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("make", "dist", "DIST="+out, "TARGETS="+host().String(), "VERSION="+testVersion)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make dist: %v\n%s", err, text)
	}
	return out
}

func sameFiles(t *testing.T, first, second string) {
	everything := func(string) bool { return true }
	a, err := read(first, everything)
	if err != nil {
		t.Fatal(err)
	}
	b, err := read(second, everything)
	if err != nil {
		t.Fatal(err)
	}
	if len(a) < 5 || len(a) != len(b) {
		t.Errorf("%d files, then %d", len(a), len(b))
	}
	for name := range a {
		if !bytes.Equal(a[name].data, b[name].data) {
			t.Errorf("%s differs", name)
		}
	}
}

// runIn runs a program in a folder and returns what it prints. A missing program fails the test: a skipped check would pass
// for one that was made.
func runIn(t *testing.T, folder, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return string(out)
}

func tryArchive(t *testing.T, out string) {
	name := fmt.Sprintf("gatehouse_%s_%s_%s", testVersion, runtime.GOOS, runtime.GOARCH)
	folder := t.TempDir()
	runIn(t, folder, "tar", "-xzf", filepath.Join(out, name+".tar.gz"))
	unpacked := filepath.Join(folder, name)
	if got := runIn(t, unpacked, "./gatehouse", "version"); !strings.HasPrefix(got, testVersion+" ") {
		t.Errorf("version prints %q", got)
	}
	runIn(t, unpacked, "./gatehouse", "adapt", "--config", "Caddyfile", "--validate")
	for file, want := range map[string]string{
		"LICENSE":                    "Apache License",
		"THIRD_PARTY_LICENSES":       "github.com/caddyserver/caddy/v2 v",
		"docs/ip_ban.md":             "ip_ban",
		"caddyfiles/all.caddyfile":   "request_limit",
		"man/man8/gatehouse-bans.8":  "gatehouse-bans",
		"man/man8/gatehouse.8":       "\ngatehouse - a proxy",
		"completions/gatehouse.bash": "gatehouse_bans",
		"completions/_gatehouse":     "#compdef gatehouse",
		"completions/gatehouse.fish": "gatehouse",
	} {
		text, err := os.ReadFile(filepath.Join(unpacked, file))
		if err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s: %v, want %q in it", file, err, want)
		}
	}
}

func tryBill(t *testing.T, out string) {
	base := filepath.Join(out, fmt.Sprintf("gatehouse_%s_%s_%s.sbom", testVersion, runtime.GOOS, runtime.GOARCH))
	text, err := os.ReadFile(base + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(base + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var b bom
	if err := json.Unmarshal(document, &b); err != nil {
		t.Fatal(err)
	}
	linked := strings.Count(string(text), "\n\tdep\t")
	if linked == 0 {
		linked = strings.Count(string(text), "\ndep\t")
	}
	if linked < 50 || len(b.Components) != linked+1 { // and Go's own library
		t.Errorf("%d modules in the text, %d components in CycloneDX", linked, len(b.Components))
	}
}

func unpackDeb(t *testing.T, out, root string) {
	deb := filepath.Join(out, fmt.Sprintf("gatehouse_%s_%s.deb", debianVersion(testVersion), debianArchitecture(runtime.GOARCH)))
	info := runIn(t, out, "dpkg-deb", "--info", deb)
	for _, want := range []string{"Package: gatehouse\n", "Version: 1.2.3~test\n", "conffiles", "postinst"} {
		if !strings.Contains(info, want) {
			t.Errorf("dpkg-deb --info prints no %q:\n%s", want, info)
		}
	}
	runIn(t, out, "dpkg-deb", "--extract", deb, root)
	control := t.TempDir()
	runIn(t, out, "dpkg-deb", "--control", deb, control)
	runIn(t, root, "md5sum", "--strict", "--quiet", "--check", filepath.Join(control, "md5sums"))
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		runIn(t, control, "sh", "-n", script)
	}
}

// line is an option of the unit, with the paths of the package that was unpacked below root.
func line(t *testing.T, root, option string) []string {
	t.Helper()
	for text := range strings.Lines(string(file("gatehouse.service"))) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(text), option+"="); ok {
			return strings.Fields(strings.NewReplacer("/usr/", root+"/usr/", "/etc/", root+"/etc/").Replace(value))
		}
	}
	t.Fatalf("the unit has no %s", option)
	return nil
}

// verifyUnit has systemd read the unit. The paths are those of the package that was unpacked, as systemd looks for them.
func verifyUnit(t *testing.T, root string) {
	unit := strings.ReplaceAll(string(file("gatehouse.service")), "/usr/bin/", root+"/usr/bin/")
	unit = strings.ReplaceAll(unit, "Documentation=man:gatehouse(8) ", "Documentation=") // the page is not installed here
	file := filepath.Join(t.TempDir(), "gatehouse.service")
	if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := runIn(t, root, "systemd-analyze", "verify", file); said != "" {
		t.Errorf("systemd-analyze says:\n%s", said)
	}
}

// serve runs the unit's ExecStart and ExecReload as systemd would: it waits for READY=1, and for it again after RELOADING=1.
func serve(t *testing.T, root string) {
	address, admin := gatehousetest.FreeAddress(t), gatehousetest.FreeAddress(t)
	config := filepath.Join(root, "etc", "gatehouse", "Caddyfile")
	text := strings.Replace(string(file("Caddyfile")), "\n:80 {", "\nhttp://"+address+" {", 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()

	home := t.TempDir()
	env := append(os.Environ(), "NOTIFY_SOCKET="+socket, "CADDY_ADMIN="+admin, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	command := line(t, root, "ExecStart")
	proxy := exec.Command(command[0], command[1:]...)
	proxy.Env, proxy.SysProcAttr = env, gatehousetest.DieWithParent()
	var said bytes.Buffer
	proxy.Stdout, proxy.Stderr = &said, &said
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = proxy.Process.Kill() // fails if it has ended
		_ = proxy.Wait()         // or was waited for
		if t.Failed() {
			t.Log(said.String())
		}
	}()
	await(t, notify, "READY=1")
	if body := get(t, "http://"+address); !strings.Contains(body, "Gatehouse runs.") {
		t.Errorf("got %q", body)
	}
	if body := get(t, "http://"+address+"/ready"); body != "ready\n" && body != "ready" {
		t.Errorf("/ready answers %q", body)
	}

	command = line(t, root, "ExecReload")
	reload := exec.Command(command[0], append(command[1:], "--address", admin)...)
	reload.Env = env
	if out, err := reload.CombinedOutput(); err != nil {
		t.Errorf("ExecReload: %v\n%s", err, out)
	}
	await(t, notify, "RELOADING=1")
	await(t, notify, "READY=1")

	if err := proxy.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, notify, "STOPPING=1")
	if err := proxy.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// await reads what the proxy tells systemd until it has told state.
func await(t *testing.T, notify *net.UnixConn, state string) {
	t.Helper()
	if err := notify.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 4096)
	for {
		n, err := notify.Read(message)
		if err != nil {
			t.Fatalf("waiting for %s: %v", state, err)
		}
		if strings.Contains(string(message[:n]), state) {
			return
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}
