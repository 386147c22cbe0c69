// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
)

// A batch takes a megabyte, and ten times less when it is compressed. All clients share the memory for that.
var (
	plain      = sync.Pool{New: func() any { return new(body) }}
	compressed = sync.Pool{New: func() any { return new(body) }}
)

// body is what is sent. The transport may still be reading it when the answer is there, so the last one to use it gives it back.
type body struct {
	text  []byte
	pool  *sync.Pool
	users atomic.Int32
}

// take returns an empty body, for one user.
func take(pool *sync.Pool) *body {
	b := pool.Get().(*body)
	b.text, b.pool = b.text[:0], pool
	b.users.Store(1)
	return b
}

func (b *body) done() {
	if b.users.Add(-1) == 0 {
		b.pool.Put(b)
	}
}

// attach has a request send the body, also again where the transport finds its connection closed.
func (b *body) attach(req *http.Request) {
	req.ContentLength = int64(len(b.text))
	req.GetBody = func() (io.ReadCloser, error) { return b.open(), nil }
	req.Body = b.open()
}

func (b *body) open() io.ReadCloser {
	b.users.Add(1)
	return &bodyReader{left: b.text, body: b}
}

// bodyReader is one user of a body, until it is closed: which the transport does at any time, also while it reads.
type bodyReader struct {
	mu   sync.Mutex
	left []byte
	body *body // nil when closed
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.body == nil:
		return 0, os.ErrClosed
	case len(r.left) == 0:
		return 0, io.EOF
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// Close implements io.Closer.
func (r *bodyReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body != nil {
		r.body.done()
		r.body, r.left = nil, nil
	}
	return nil
}
