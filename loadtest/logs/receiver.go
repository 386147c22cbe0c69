// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// tally counts the lines that arrived, by the URI of their request.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

var uriField = []byte(`"uri":"`)

// add counts a line.
func (t *tally) add(line []byte) {
	_, rest, found := bytes.Cut(line, uriField)
	uri, _, closed := bytes.Cut(rest, []byte(`"`))
	if !found || !closed {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen[string(uri)]++
}

// read counts the lines of a stream, and returns whether it came to its end.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		t.add(lines.Bytes())
	}
	return lines.Err()
}

// compare returns how many of the requests are missing, and how many came more than once.
func (t *tally) compare(received map[string]bool) (lost, twice int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for uri := range received {
		if t.seen[uri] == 0 {
			lost++
		}
	}
	for _, n := range t.seen {
		twice += n - 1
	}
	return lost, twice
}

// receiver takes lines by HTTP, or as a stream over TCP, on one port that can go away.
type receiver struct {
	tally
	address string
	stream  bool
	batches map[string]int // lines of each, by ID; guarded by the tally's lock
	again   []int          // lines of each batch that came again; guarded so too

	listener net.Listener
	server   *http.Server
	conns    map[net.Conn]bool
	connsMu  sync.Mutex
}

func newReceiver(stream bool) (*receiver, error) {
	// While it is away, no other server of this machine is to be taken for it: those listen on 127.0.0.1.
	address := fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	r := &receiver{address: address, stream: stream, conns: map[net.Conn]bool{}, batches: map[string]int{}}
	r.seen = map[string]int{}
	return r, r.open()
}

// open listens, on the same port as before.
func (r *receiver) open() error {
	var err error
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if r.listener, err = net.Listen("tcp", r.address); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return err
	}
	r.address = r.listener.Addr().String()
	if r.stream {
		go r.accept(r.listener)
		return nil
	}
	r.server = &http.Server{Handler: http.HandlerFunc(r.take), ReadHeaderTimeout: time.Minute}
	go func(s *http.Server, l net.Listener) { _ = s.Serve(l) }(r.server, r.listener)
	return nil
}

// shut refuses connections and cuts those there are.
func (r *receiver) shut() {
	_ = r.listener.Close()
	if r.server != nil {
		_ = r.server.Close()
	}
	r.connsMu.Lock()
	defer r.connsMu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	clear(r.conns)
}

func (r *receiver) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		r.connsMu.Lock()
		r.conns[conn] = true
		r.connsMu.Unlock()
		go func() { _ = r.read(conn) }()
	}
}

// trace notes a batch that came before.
func (r *receiver) trace(id string, lines int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != "" && r.batches[id] == lines {
		r.again = append(r.again, lines)
	}
	r.batches[id] = lines
}

// repeats returns how many batches came again as they were, and how many lines those had.
func (r *receiver) repeats() (batches, lines int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.again {
		lines += n
	}
	return len(r.again), lines
}

// take reads a batch whole before it counts any of it: what is not acknowledged does not count.
func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	var body io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "zstd" {
		z, err := zstd.NewReader(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer z.Close()
		body = z
	}
	text, err := io.ReadAll(body)
	if err == nil {
		r.trace(req.Header.Get("Idempotency-Key"), bytes.Count(text, []byte("\n")))
		err = r.read(bytes.NewReader(text))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
