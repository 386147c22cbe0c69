// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// front is a running `gatehouse front`.
type front struct {
	*process
	url   string // of the proxy
	admin string // URL of its admin endpoint
}

// startFront stands in front of the addresses and waits until it serves.
func startFront(t *testing.T, args ...string) *front {
	t.Helper()
	from, admin := gatehousetest.FreeAddress(t), gatehousetest.FreeAddress(t)
	f := &front{url: "http://" + from, admin: "http://" + admin}
	f.process = start(t, binary(t), append([]string{"front", "--from", from, "--admin", admin}, args...)...)
	f.says("front serves " + f.url)
	return f
}

func host(url string) string { return strings.TrimPrefix(url, "http://") }

// exchange is a request to compare, and its answer in a form that two of them can be compared in.
type exchange struct {
	method, path string
	header       string // one "Name: value", or empty
}

type answer struct {
	Status int
	Header http.Header
	Length int64
	SHA256 [32]byte
}

func (e exchange) run(t *testing.T, client *http.Client, url string) answer {
	t.Helper()
	req, err := http.NewRequest(e.method, url+e.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(e.header, ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, resp.Body); err != nil {
		t.Fatalf("%s %s: %v", e.method, e.path, err)
	}
	// Of this hop or this moment, and Via, which RFC 9110 section 7.6.3 has a proxy add.
	for _, name := range []string{"Date", "Connection", "Keep-Alive", "Via"} {
		resp.Header.Del(name)
	}
	return answer{resp.StatusCode, resp.Header, resp.ContentLength, [32]byte(h.Sum(nil))}
}

// newClient asks for what the test says and nothing more: no compression, no redirects.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// TestFrontChangesNothing compares each answer through front with the application's own: the same bytes, the same headers.
func TestFrontChangesNothing(t *testing.T) {
	folder := website(t)
	applications := foreignApplications(t, folder)
	applications["net/http"] = goApplication(t, folder).URL
	for name, direct := range applications {
		t.Run(name, func(t *testing.T) {
			f := startFront(t, "--to", host(direct))
			client := newClient(t)
			for _, e := range exchanges(t, client, direct) {
				want, got := e.run(t, client, direct), e.run(t, client, f.url)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s %s with %q\n through front %+v\n      directly %+v", e.method, e.path, e.header, got, want)
				}
			}
		})
	}
}

func exchanges(t *testing.T, client *http.Client, direct string) []exchange {
	t.Helper()
	page := exchange{"GET", "/index.html", ""}.run(t, client, direct)
	list := []exchange{
		{"GET", "/", ""},
		{"GET", "/index.html", ""},
		{"GET", "/", "Accept-Encoding: gzip"},
		{"GET", "/style.css", ""},
		{"GET", "/empty.txt", ""},
		{"GET", "/dir", ""},
		{"GET", "/dir/a%20b.txt", ""},
		{"GET", "/dir/a%20b.txt?q=%7B1%7D&&r", ""},
		{"GET", "/missing", ""},
		{"HEAD", "/big.bin", ""},
		{"GET", "/big.bin", ""},
		{"GET", "/big.bin", "Range: bytes=1000-1999"},
		{"GET", "/big.bin", "Range: bytes=-70000"},
		{"GET", "/big.bin", fmt.Sprintf("Range: bytes=%d-", bigSize)},
		{"DELETE", "/index.html", ""},
	}
	for validator, condition := range map[string]string{"Etag": "If-None-Match", "Last-Modified": "If-Modified-Since"} {
		if value := page.Header.Get(validator); value != "" {
			list = append(list, exchange{"GET", "/index.html", condition + ": " + value})
		}
	}
	return list
}

func TestFrontPassesUploads(t *testing.T) {
	direct := goApplication(t, t.TempDir())
	f := startFront(t, "--to", host(direct.URL))
	body := make([]byte, 16<<20)
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
	for name, reader := range map[string]io.Reader{
		"with its length": bytes.NewReader(body),
		"chunked":         io.MultiReader(bytes.NewReader(body)),
	} {
		resp, err := newClient(t).Post(f.url+"/upload", "application/octet-stream", reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s and %v, want %s", name, got, err, want)
		}
	}
}

// echoes sends messages of several sizes and kinds over conn and compares what comes back.
func echoes(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	big := make([]byte, 1<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		kind websocket.MessageType
		text []byte
	}{
		{websocket.MessageText, []byte("hello")},
		{websocket.MessageText, []byte{}},
		{websocket.MessageBinary, []byte{0, 1, 2, 255}},
		{websocket.MessageBinary, big},
	} {
		if err := conn.Write(ctx, m.kind, m.text); err != nil {
			t.Fatal(err)
		}
		kind, text, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if kind != m.kind || !bytes.Equal(text, m.text) {
			t.Fatalf("sent %v of %d bytes, got %v of %d bytes", m.kind, len(m.text), kind, len(text))
		}
	}
}

func dialWebSocket(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, url+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
	conn.SetReadLimit(8 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() }) // fails if it was closed before
	return conn
}

// reload has the running proxy load its own configuration again.
func (f *front) reload(t *testing.T) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, f.admin+"/load", bytes.NewReader(f.config(t)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cache-Control", "must-revalidate") // even though it is the same
	resp, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the reload answers %s", resp.Status)
	}
}

// config is the JSON that the proxy runs.
func (f *front) config(t *testing.T) []byte {
	t.Helper()
	resp, err := newClient(t).Get(f.admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	config, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("reading the config: %s, %v", resp.Status, err)
	}
	return config
}

// TestFrontReloadCutsNothing reloads under an open WebSocket and in the middle of a download.
func TestFrontReloadCutsNothing(t *testing.T) {
	folder := website(t)
	f := startFront(t, "--to", host(goApplication(t, folder).URL))
	conn := dialWebSocket(t, f.url)
	echoes(t, conn)
	resp, err := newClient(t).Get(f.url + "/big.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}

	f.reload(t)

	if _, err := io.Copy(h, resp.Body); err != nil {
		t.Errorf("the download that went on during a reload: %v", err)
	}
	want := exchange{"GET", "/big.bin", ""}.run(t, newClient(t), f.url)
	if [32]byte(h.Sum(nil)) != want.SHA256 {
		t.Error("the download that went on during a reload brought other bytes")
	}
	echoes(t, conn)
	echoes(t, dialWebSocket(t, f.url))
}

// TestFrontPrintsWhatItRuns compares the Caddyfile of --print-config with the configuration of the running process.
func TestFrontPrintsWhatItRuns(t *testing.T) {
	from, admin := gatehousetest.FreeAddress(t), gatehousetest.FreeAddress(t)
	args := []string{
		"front", "--from", from, "--admin", admin, "--to", "127.0.0.1:1", "--to", "localhost:2", "--access-log", "--compress", "-c",
	}
	printed, err := exec.Command(binary(t), append(args, "--print-config")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, printed, 0o600); err != nil {
		t.Fatal(err)
	}
	adapted, err := exec.Command(binary(t), "adapt", "--config", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	f := &front{process: start(t, binary(t), args...), admin: "http://" + admin}
	f.says("front serves")
	var want, got any
	if err := json.Unmarshal(adapted, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(f.config(t), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("running:\n%v\nprinted:\n%v", got, want)
	}
}
