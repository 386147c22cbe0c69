// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// bigSize is the length of big.bin, in bytes.
const bigSize = 64 << 20

// website makes a folder with the files that the applications below serve.
func website(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	page := "<!doctype html>\n<title>page</title>\n" + strings.Repeat("<p>A line of text, long enough to be compressed.</p>\n", 200)
	if err := os.MkdirAll(filepath.Join(folder, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"index.html": page, "dir/a b.txt": "a name with a space\n", "style.css": "p { margin: 0 }\n", "empty.txt": "",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(folder, "big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), bigSize); err != nil {
		t.Fatal(err)
	}
	// A server behind nginx or another user must be able to enter.
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// goApplication serves the folder, WebSocket echoes on /ws, and the SHA-256 of what is sent to /upload.
func goApplication(t *testing.T, folder string) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(folder)))
	mux.HandleFunc("/ws", echoWebSocket)
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
	})
	mux.HandleFunc("/host", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) })
	mux.HandleFunc("/protocol", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func echoWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }() // fails if the handshake of closing was done
	conn.SetReadLimit(8 << 20)
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// foreignApplications starts the servers of this machine that are not Go's: at least one must be there.
func foreignApplications(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, begin := range map[string]func(*testing.T, string, string) string{"python3": startPython, "nginx": startNginx} {
		program, err := exec.LookPath(name)
		if errors.Is(err, exec.ErrNotFound) {
			t.Logf("%s is not installed: not tested behind it", name)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		found[name] = begin(t, program, folder)
	}
	if len(found) == 0 {
		t.Fatal("this test needs an application that is not written in Go: install python3 or nginx (apt-get install nginx)")
	}
	return found
}

func startPython(t *testing.T, program, folder string) string {
	t.Helper()
	address := gatehousetest.FreeAddress(t)
	host, port, _ := strings.Cut(address, ":")
	start(t, program, "-m", "http.server", "--bind", host, "--directory", folder, port)
	return answering(t, address)
}

func startNginx(t *testing.T, program, folder string) string {
	t.Helper()
	address, prefix := gatehousetest.FreeAddress(t), t.TempDir()
	config := `daemon off; master_process off; pid nginx.pid; error_log stderr;
events {}
http {
	types { text/html html; text/css css; text/plain txt; }
	access_log off; gzip on; gzip_types text/css;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server { listen ` + address + `; root ` + folder + `; }
}`
	file := filepath.Join(prefix, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, program, "-p", prefix, "-c", file)
	return answering(t, address)
}

// answering waits until something answers HTTP at the address, and returns the URL.
func answering(t *testing.T, address string) string {
	t.Helper()
	url := "http://" + address
	eventually(t, 20*time.Second, url+" answers", func() bool {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return url
}
