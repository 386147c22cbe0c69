// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// A server that answers before it has read the body leaves the transport reading it, while the next batch is written.
func TestNextBodyLeavesTheLastOneAlone(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 1)
		_, _ = io.ReadFull(r.Body, first) // zero if there is none, which no batch is made of
		if first[0]%2 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = http.NewResponseController(w).Flush()
		}
		rest, err := io.ReadAll(r.Body)
		if err == nil && len(bytes.Trim(rest, string(first))) > 0 {
			t.Errorf("in the body %d there is another one", first[0])
		}
	}))
	defer server.Close()
	c, err := NewClient(Config{URL: server.URL}, None, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 20 {
		_, err := c.Post(t.Context(), "text/plain", "id", func(dst []byte) []byte {
			return append(dst, bytes.Repeat([]byte{byte('a' + i)}, 2<<20)...)
		})
		if refused := byte('a'+i)%2 == 0; refused != (err != nil) {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
}

func TestBodyIsGivenBackOnce(t *testing.T) {
	b := take(&plain)
	b.text = append(b.text, "line"...)
	one, two := b.open(), b.open()
	b.done()
	if text, err := io.ReadAll(one); err != nil || string(text) != "line" {
		t.Fatalf("%q, %v", text, err)
	}
	for range 2 {
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.users.Load(); n != 1 {
		t.Errorf("%d use it, want the other reader", n)
	}
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reading on after Close gives %v", err)
	}
	if err := errors.Join(two.Close(), two.Close()); err != nil || b.users.Load() != 0 {
		t.Errorf("%d use it, want none (%v)", b.users.Load(), err)
	}
}
