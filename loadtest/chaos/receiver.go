// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// receiver takes log lines by HTTP, and as a stream over TCP for the control. It remembers the numbers of requests.
type receiver struct {
	address, stream string
	server          *http.Server
	listener        net.Listener

	mu   sync.Mutex
	seen map[int]bool
	away bool // answers 503
}

// numberField is where a line has the number of its request.
var numberField = []byte(numbered)

func startReceiver() (*receiver, error) {
	r := &receiver{seen: map[int]bool{}}
	web, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		return nil, fmt.Errorf("starting the receiver of logs: %w", err)
	}
	if r.listener, err = net.Listen("tcp", "127.0.0.2:0"); err != nil {
		_ = web.Close()
		return nil, fmt.Errorf("starting the receiver of logs: %w", err)
	}
	r.address, r.stream = web.Addr().String(), r.listener.Addr().String()
	r.server = &http.Server{Handler: http.HandlerFunc(r.take), ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(web) }() // ends by stop
	go r.accept()
	return r, nil
}

func (r *receiver) stop() {
	_ = r.server.Close()
	_ = r.listener.Close()
}

// leave and come back, for both ways.
func (r *receiver) leave(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

func (r *receiver) isAway() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away
}

func (r *receiver) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewReader(conn); !r.isAway(); {
				line, err := lines.ReadBytes('\n')
				if err != nil {
					return
				}
				r.note(line)
			}
		}()
	}
}

// take reads a batch whole before it counts any of it: what is not acknowledged does not count.
func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	if r.isAway() {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	body, err := zstd.NewReader(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for line := range bytes.Lines(text) {
		r.note(line)
	}
}

func (r *receiver) note(line []byte) {
	_, rest, found := bytes.Cut(line, numberField)
	digits, _, _ := bytes.Cut(rest, []byte(`"`))
	n, err := strconv.Atoi(string(digits))
	if !found || err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[n] = true
}

// has tells which of the numbers have not arrived.
func (r *receiver) missing(numbers []int) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []int
	for _, n := range numbers {
		if !r.seen[n] {
			missing = append(missing, n)
		}
	}
	return missing
}
