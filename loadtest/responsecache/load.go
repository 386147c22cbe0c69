// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// loaded is what a load got.
type loaded struct {
	requests int
	size     int // of an answer's body
}

// load asks for a path on several connections, each as quickly as answers come.
func load(row measurement, duration time.Duration, connections int) (loaded, error) {
	probe, err := dial(row.process, row.address)
	if err != nil {
		return loaded{}, err
	}
	defer probe.Close()
	var mu sync.Mutex
	var total loaded
	var errs []error
	var group sync.WaitGroup
	deadline := time.Now().Add(duration)
	for range connections {
		group.Go(func() {
			n, size, err := ask(row, deadline)
			mu.Lock()
			defer mu.Unlock()
			total.requests += n
			total.size = size
			errs = append(errs, err)
		})
	}
	group.Wait()
	if err = errors.Join(errs...); err == nil {
		return total, nil
	}
	select {
	case <-row.process.ended:
		return total, row.process.failure()
	case <-time.After(100 * time.Millisecond): // for its end to be noticed
		return total, err
	}
}

// ask uses one connection. It reads as little of answers as it can, to leave the machine to the proxy.
func ask(row measurement, deadline time.Time) (requests, size int, err error) {
	conn, err := dial(row.process, row.address)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	request := []byte("GET " + row.path + " HTTP/1.1\r\nHost: " + row.address + "\r\n" + row.header + "\r\n")
	reader := bufio.NewReaderSize(conn, 64<<10)
	for time.Now().Before(deadline) {
		if _, err := conn.Write(request); err != nil {
			return requests, size, err
		}
		if size, err = answer(reader); err != nil {
			return requests, size, err
		}
		requests++
	}
	return requests, size, nil
}

// answer reads one answer, which must be a 200.
func answer(reader *bufio.Reader) (size int, err error) {
	size = -1
	for first := true; ; first = false {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case first && !strings.HasPrefix(text, "HTTP/1.1 200"):
			return 0, fmt.Errorf("the answer is %q", text)
		case text == "":
			if size < 0 {
				return 0, errors.New("the answer has no Content-Length")
			}
			_, err := reader.Discard(size)
			return size, err
		}
		if name, value, ok := strings.Cut(text, ": "); ok && strings.EqualFold(name, "Content-Length") {
			if size, err = strconv.Atoi(value); err != nil {
				return 0, err
			}
		} else if ok && strings.EqualFold(name, "Transfer-Encoding") { // of the answer that fills the cache
			return chunked(reader)
		}
	}
}

// chunked reads the rest of an answer in chunks.
func chunked(reader *bufio.Reader) (size int, err error) {
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if err != nil {
			return 0, err
		}
		size += int(n)
		if _, err := io.CopyN(io.Discard, reader, n+2); err != nil || n == 0 {
			return size, err
		}
	}
}

// dial connects, waiting until the server listens. If the server has ended, the error says how.
func dial(p *process, address string) (net.Conn, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn, conn.SetDeadline(time.Now().Add(time.Minute))
		}
		select {
		case <-p.ended:
			return nil, p.failure()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
}

// free is a loopback address whose port was free a moment ago.
func free() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// process is a server that runs beside this program.
type process struct {
	*exec.Cmd
	stderr tail
	ended  chan struct{} // closed when err is known
	err    error
}

func start(program string, args ...string) (*process, error) {
	p := &process{Cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.Stderr = &p.stderr
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	go func() {
		p.err = p.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.Process.Kill()
	<-p.ended
}

// failure says how the process ended, which it was not to do.
func (p *process) failure() error {
	how := "without an error"
	if p.err != nil {
		how = "with " + p.err.Error()
	}
	return fmt.Errorf("%s ended %s; the last that it wrote was:\n%s", p.Path, how, p.stderr.lines())
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const (
	tailBytes = 8 << 10
	tailLines = 10
)

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if excess := len(t.text) - tailBytes; excess > 0 {
		t.text = append(t.text[:0], t.text[excess:]...)
	}
	return len(b), nil
}

// lines are the last ones.
func (t *tail) lines() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// cpu is the time that a process has used: the fields utime and stime of proc_pid_stat(5), in ticks of 10 ms.
func cpu(p *process) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks time.Duration
	for _, i := range []int{11, 12} {
		n, _ := strconv.Atoi(fields[i])
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}
