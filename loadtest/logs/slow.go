// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slowRounds is how often each sink gets its turn; the median counts.
const slowRounds = 3

// subject is a proxy before a sink of some kind.
type subject struct {
	name  string
	proxy *proxy
	p99s  []time.Duration
	n     int
}

// trickle accepts connections, and reads so many bytes a second from each; none for zero.
func trickle(bytes int) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				for buf := make([]byte, max(bytes, 1)); bytes > 0; time.Sleep(time.Second) {
					if _, err := conn.Read(buf); err != nil {
						_ = conn.Close()
						return
					}
				}
				select {} // holds the connection until the program ends
			}()
		}
	}()
	return l, nil
}

// sinks makes a receiver of each kind and returns their addresses.
func sinks() (names, addresses []string, err error) {
	add := func(name, address string) { names, addresses = append(names, name), append(addresses, address) }
	for _, name := range []string{"healthy", "healthy again"} {
		r, err := newReceiver(false)
		if err != nil {
			return nil, nil, err
		}
		add(name, r.address)
	}
	dead, err := newReceiver(false)
	if err != nil {
		return nil, nil, err
	}
	dead.shut()
	add("dead", dead.address)
	for name, rate := range map[string]int{"accepts, never reads": 0, "1 byte/s": 1} {
		l, err := trickle(rate)
		if err != nil {
			return nil, nil, err
		}
		add(name, l.Addr().String())
	}
	return names, addresses, nil
}

func (s settings) runSlow(stdout, stderr io.Writer) int {
	subjects, err := s.measureSlow()
	for _, x := range subjects {
		defer x.proxy.end(syscall.SIGKILL)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "logs: %v\n", err)
		return 1
	}
	_, _ = fmt.Fprintf(stdout, "| sink | requests | client p99, median of rounds | rounds | memory: RSS, anonymous |\n| --- | --- | --- | --- | --- |\n")
	for _, x := range subjects {
		rss, anonymous := memory(x.proxy.cmd.Process.Pid)
		_, _ = fmt.Fprintf(stdout, "| %s | %d | %s | %v | %d MiB, %d MiB |\n", x.name, x.n, median(x.p99s), x.p99s, rss>>20, anonymous>>20)
	}
	return 0
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// measureSlow gives each proxy its turn in each round, the other way round in every second. Each is reloaded once, which must
// succeed.
func (s settings) measureSlow() (subjects []*subject, err error) {
	folder, err := os.MkdirTemp("", "gatehouse-logs-")
	if err != nil {
		return nil, err
	}
	names, addresses, err := sinks()
	if err != nil {
		return nil, err
	}
	names, addresses = append(names, "(no log)"), append(addresses, "")
	for i, name := range names {
		writer := fmt.Sprintf("ship %s {\n sink http http://%s/\n max_size %%dMiB\n timeout 10s\n }", filepath.Join(folder, "spool"+strconv.Itoa(i)), addresses[i])
		if addresses[i] == "" {
			writer = "discard\n # %d"
		}
		p, err := newProxy("slow"+strconv.Itoa(i), folder, "127.0.0.1:1", writer)
		if err != nil {
			return subjects, err
		}
		subjects = append(subjects, &subject{name: name, proxy: p})
		if err := p.reload(); err != nil {
			return subjects, err
		}
	}
	for round := range slowRounds {
		for i := range subjects {
			if round%2 == 1 {
				i = len(subjects) - 1 - i
			}
			subjects[i].measure(s.rate, s.round)
		}
	}
	return subjects, nil
}

func (x *subject) measure(rate int, lasts time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	l := newLoad(x.proxy.address)
	l.begin(ctx, rate)
	l.wait()
	waits := slices.Sorted(slices.Values(l.waits))
	x.n += len(waits)
	if len(waits) > 0 {
		x.p99s = append(x.p99s, waits[len(waits)*99/100].Round(time.Microsecond))
	}
}

// memory reads a process' resident memory, and how much of it no file stands behind: proc_pid_status(5).
func memory(pid int) (rss, anonymous int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			rss = kib << 10
		case "RssAnon:":
			anonymous = kib << 10
		}
	}
	return rss, anonymous
}
