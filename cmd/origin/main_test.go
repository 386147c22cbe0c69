// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// asProgram makes the test binary be the program, so that signals and exit statuses are the real ones.
const asProgram = "ORIGIN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// launch starts the program and returns the URLs of its listeners by name.
func launch(t *testing.T, listeners int, args ...string) (program *exec.Cmd, urls map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	program = exec.CommandContext(ctx, os.Args[0], args...)
	// Under the race detector a program lingers for a second when it ends, unless told otherwise.
	program.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0")
	program.Stderr = os.Stderr
	stdout, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Process.Kill() }) // fails where the test has ended it
	urls = make(map[string]string)
	lines := bufio.NewScanner(stdout)
	for range listeners {
		if !lines.Scan() {
			t.Fatalf("no line for each of %d listeners", listeners)
		}
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || fields[0] != "listening" {
			t.Fatalf("line %q", lines.Text())
		}
		urls[fields[1]] = fields[2]
	}
	return program, urls
}

// request answers a status of 0 if there is no response.
func request(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

func TestProgram(t *testing.T) {
	program, urls := launch(t, 2, "--listen", "127.0.0.1:0,127.0.0.1:0", "--name", "a,b",
		"--error-rate", "0", "--error-rate", "1")
	if status, body := request(t, "POST", urls["a"]+"/orders?key=k", ""); status != http.StatusCreated {
		t.Errorf("a: %d %s", status, body)
	}
	if status, body := request(t, "POST", urls["b"]+"/orders?key=k", ""); status != http.StatusInternalServerError {
		t.Errorf("b: %d %s", status, body)
	}
	if status, body := request(t, "PATCH", urls["b"]+"/_origin/settings", `{"error_rate":0}`); status != http.StatusOK {
		t.Errorf("settings of b: %d %s", status, body)
	}
	if status, body := request(t, "POST", urls["b"]+"/orders?key=k", ""); status != http.StatusCreated {
		t.Errorf("b, healed: %d %s", status, body)
	}
	_, body := request(t, "GET", urls["a"]+"/orders", "")
	var report struct{ Orders map[string]int }
	if err := json.Unmarshal([]byte(body), &report); err != nil || report.Orders["k"] != 2 {
		t.Errorf("report %s, %v", body, err)
	}
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestSignals: with a request that would take ten minutes under way, either signal ends the program long before.
func TestSignals(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			program, urls := launch(t, 1, "--name", "a", "--settings", `{"stall":"10m"}`)
			conn, err := net.Dial("tcp", strings.TrimPrefix(urls["a"], "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool {
				_, stats := request(t, "GET", urls["a"]+"/_origin/stats", "")
				return strings.Contains(stats, `"stalled":1`)
			})
			began := time.Now()
			if err := program.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := program.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
			if took := time.Since(began); took > 10*time.Second { // the two that are promised are those of a machine that does nothing else
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestRunStops: when run has returned, nothing listens any more.
func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	reader, writer := io.Pipe()
	status := make(chan int, 1)
	listen := gatehousetest.FreeAddress(t) // nobody else takes it while this test looks
	go func() { status <- run(ctx, []string{"--listen", listen}, writer, io.Discard) }()
	line, err := bufio.NewReader(reader).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening origin1 http://")
	if err != nil || !ok {
		t.Fatalf("line %q, %v", line, err)
	}
	cancel()
	if got := <-status; got != 0 {
		t.Errorf("status %d", got)
	}
	// A process that another test is starting meanwhile keeps the listener until it runs its own program.
	gatehousetest.Eventually(t, "nothing listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// TestAddressInUse: status 1, and no line for a listener that would be gone at once.
func TestAddressInUse(t *testing.T) {
	var taken net.ListenConfig
	socket, err := taken.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var stdout, stderr bytes.Buffer
	args := []string{"--listen", "127.0.0.1:0," + socket.Addr().String(), "--name", "a,b"}
	status := run(t.Context(), args, &stdout, &stderr)
	got := stderr.String()
	if status != 1 || !strings.HasPrefix(got, "origin: listening for b: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("status %d, stderr %q", status, got)
	}
	if stdout.Len() > 0 {
		t.Errorf("stdout %q", &stdout)
	}
}

// waitFor polls what the program brings about, for at most ten seconds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("ten seconds passed in vain")
		}
	}
}
