// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestNewBody(t *testing.T) {
	whole, err := io.ReadAll(NewBody(1003))
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(NewBody(1003), whole); err != nil { // reads and seeks in every way
		t.Error(err)
	}
	longer, err := io.ReadAll(NewBody(2000))
	if err != nil || !bytes.Equal(longer[:1003], whole) {
		t.Errorf("bodies of different sizes begin differently, %v", err)
	}
	if other, err := io.ReadAll(&noise{size: 1003, seed: 1}); err != nil || bytes.Equal(other, whole) {
		t.Errorf("another seed gave the same body, %v", err)
	}
	// Every value occurs about as often as the others.
	var histogram [256]int
	large, err := io.ReadAll(NewBody(256_000))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range large {
		histogram[b]++
	}
	for value, n := range histogram {
		if n < 800 || n > 1200 {
			t.Errorf("byte %d occurs %d times in 256000", value, n)
		}
	}
}

func TestNewBodySeek(t *testing.T) {
	body := NewBody(10)
	for _, test := range []struct {
		offset int64
		whence int
		want   int64
	}{{3, io.SeekStart, 3}, {3, io.SeekCurrent, 6}, {-4, io.SeekEnd, 6}, {5, io.SeekEnd, 15}} {
		if got, err := body.Seek(test.offset, test.whence); got != test.want || err != nil {
			t.Errorf("seek %d, %d: %d, %v", test.offset, test.whence, got, err)
		}
	}
	if n, err := body.Read(make([]byte, 1)); n != 0 || err != io.EOF { // io.Reader's contract
		t.Errorf("past the end: %d, %v", n, err)
	}
	if _, err := body.Seek(-1, io.SeekStart); err == nil {
		t.Error("sought before the start")
	}
}

func TestBytes(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	whole, err := io.ReadAll(NewBody(100_000))
	if err != nil {
		t.Fatal(err)
	}
	w := do(t, l, "GET", "/bytes/100000", "")
	wantStatus(t, w, http.StatusOK)
	if h := w.Header(); h.Get("Content-Length") != "100000" || h.Get("ETag") != `"bytes-100000"` {
		t.Errorf("headers %v", h)
	}
	if !bytes.Equal(w.Body.Bytes(), whole) {
		t.Errorf("wrong bytes, %d of them", w.Body.Len())
	}
	for _, test := range []struct {
		spec     string
		from, to int
	}{{"0-99", 0, 100}, {"777-1776", 777, 1777}, {"99990-", 99_990, 100_000}, {"-5", 99_995, 100_000}} {
		w := do(t, l, "GET", "/bytes/100000", "", "Range", "bytes="+test.spec)
		wantStatus(t, w, http.StatusPartialContent)
		if !bytes.Equal(w.Body.Bytes(), whole[test.from:test.to]) {
			t.Errorf("range %s: wrong bytes", test.spec)
		}
	}
	wantStatus(t, do(t, l, "GET", "/bytes/100000", "", "If-None-Match", `"bytes-100000"`), http.StatusNotModified)
}

// TestBytesFourGiB asks for the last bytes of the largest body, which nobody has to make first.
func TestBytesFourGiB(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	w := do(t, l, "GET", fmt.Sprintf("/bytes/%d", int64(maxBody)), "", "Range", "bytes=-10")
	wantStatus(t, w, http.StatusPartialContent)
	body := NewBody(maxBody)
	if _, err := body.Seek(-10, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(w.Body.Bytes(), want) || len(want) != 10 {
		t.Errorf("%x, want %x, %v", w.Body, want, err)
	}
	if got := w.Header().Get("Content-Range"); got != "bytes 4294967286-4294967295/4294967296" {
		t.Errorf("Content-Range %s", got)
	}
}

func TestBytesChunked(t *testing.T) {
	url, client := serveReal(t, newListener(t, Options{}, Settings{}))
	response, body, err := send(t, client, "GET", url+"/bytes/100000?chunked&piece=999")
	if err != nil || response.ContentLength != -1 || response.Header.Get("ETag") != "" {
		t.Fatalf("length %d, headers %v, %v", response.ContentLength, response.Header, err)
	}
	want, err := io.ReadAll(NewBody(100_000))
	if err != nil || !bytes.Equal(body, want) {
		t.Errorf("wrong bytes, %v", err)
	}
}

func TestBytesTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := do(t, newListener(t, Options{}, Settings{}), "GET", "/bytes/10000?chunked&piece=1000&pause=100ms", "")
		if took := time.Since(began); w.Body.Len() != 10_000 || took < 900*time.Millisecond || took > time.Second {
			t.Errorf("%d bytes in %s", w.Body.Len(), took)
		}
	})
}
