// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// stopLimit is front's grace period with time to spare.
const stopLimit = 15 * time.Second

// TestFrontStops holds that each way of asking ends the process in time with code 0: idle, and under an open WebSocket.
func TestFrontStops(t *testing.T) {
	direct := goApplication(t, t.TempDir())
	for name, signal := range map[string]syscall.Signal{"Ctrl-C": syscall.SIGINT, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			f := startFront(t, "--to", host(direct.URL))
			echoes(t, dialWebSocket(t, f.url))
			if code := f.stop(signal, stopLimit); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestFrontStopsAfterTheRequests holds that a request in flight is answered while new ones are not taken any more.
func TestFrontStopsAfterTheRequests(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	direct := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	defer direct.Close()
	f := startFront(t, "--to", host(direct.URL))
	answered := make(chan string, 1)
	client := newClient(t)
	go func() { answered <- text(client.Get(f.url)) }()
	<-arrived
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the listener is closed", func() bool {
		conn, err := net.Dial("tcp", host(f.url))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-answered; got != "done" {
		t.Errorf("the request in flight: %s", got)
	}
	if code := f.exit(stopLimit); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// text is the body of an answer, or the error.
func text(resp *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode != http.StatusOK {
		return resp.Status + " " + string(body)
	}
	return string(body)
}

// TestFrontWaitsForTheApplication sends a request, with a body, while the application is away.
func TestFrontWaitsForTheApplication(t *testing.T) {
	address := gatehousetest.FreeAddress(t)
	f := startFront(t, "--to", address)
	client, answered := newClient(t), make(chan string, 1)
	go func() { answered <- text(client.Post(f.url, "text/plain", strings.NewReader("an order"))) }()
	select {
	case got := <-answered:
		t.Fatalf("answered without the application: %s", got)
	case <-time.After(300 * time.Millisecond): // an answer that does not wait is there within a few
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	direct := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	direct.Listener.Close()
	direct.Listener = l
	direct.Start()
	defer direct.Close()
	if got := <-answered; got != "an order" {
		t.Errorf("got %s", got)
	}
}

// TestFrontSparesADeadUpstream holds that no request fails where one of two upstreams is away.
func TestFrontSparesADeadUpstream(t *testing.T) {
	alive := goApplication(t, t.TempDir())
	f := startFront(t, "--to", gatehousetest.FreeAddress(t), "--to", host(alive.URL))
	client := newClient(t)
	for i := range 30 {
		if got := text(client.Get(f.url + "/protocol")); got != "HTTP/1.1" {
			t.Fatalf("request %d: %s", i+1, got)
		}
	}
}

func TestFrontPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken, free := l.Addr().String(), gatehousetest.FreeAddress(t)
	first := startFront(t, "--to", "127.0.0.1:1") // Caddy would share its ports with a second process
	for name, c := range map[string]struct{ from, admin, want string }{
		"from":                   {taken, free, "--from " + taken + ": the port is taken; "},
		"admin":                  {free, taken, "--admin " + taken + ": the port is taken; "},
		"from of another front":  {host(first.url), free, "--from " + host(first.url) + ": the port is taken; "},
		"admin of another front": {free, host(first.admin), "--admin " + host(first.admin) + ": the port is taken; "},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, c.want, "--from", c.from, "--admin", c.admin, "--to", "127.0.0.1:1")
		})
	}
}

func TestFrontRefusesBadCommandLines(t *testing.T) {
	for name, args := range map[string][]string{
		"--to is missing":            {},
		`--to "3000"`:                {"--to", "3000"},
		`--to "a\nb"`:                {"--to", "a\nb"},
		`--to "{env.HOME}:80"`:       {"--to", "{env.HOME}:80"},
		`--to "import /etc/passwd"`:  {"--to", "import /etc/passwd"},
		`--from "http://*"`:          {"--from", "http://*", "--to", "localhost:3000"},
		`--admin "on"`:               {"--admin", "on", "--to", "localhost:3000"},
		`unexpected argument "x"`:    {"x"},
		"unknown flag: --no-such":    {"--no-such"},
		"is where front itself":      {"--to", "localhost:8080"},
		"--internal-certs needs":     {"--to", "localhost:3000", "-i"},
		"flag needs an argument":     {"--to"},
		"unknown shorthand flag":     {"-x"},
		"differ in scheme; all addr": {"--to", "a:3000", "--to", "https://b"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, name, args...) })
	}
}

// refused runs front and wants exit code 1, one line on stderr that contains want, and nothing on stdout.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	p := start(t, binary(t), append([]string{"front"}, args...)...)
	code := p.exit(stopLimit)
	errors := p.err.String()
	if code != 1 || !strings.Contains(errors, want) || strings.Count(errors, "\n") != 1 || p.out.String() != "" {
		t.Errorf("exit code %d, want one line with %q\nstdout: %s\nstderr: %s", code, want, p.out.String(), errors)
	}
}
