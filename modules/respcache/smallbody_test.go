// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// stuck is a client that does not read.
type stuck struct {
	*httptest.ResponseRecorder
	reads chan struct{} // closed when it does
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.reads
	return s.ResponseRecorder.Write(p)
}

// A client that does not read a small answer keeps nobody else from it.
func TestSlowLeaderOfASmallAnswer(t *testing.T) {
	d := newDirect(t, header("body", "Cache-Control: max-age=60", "Content-Length: 4"))
	slow := &stuck{httptest.NewRecorder(), make(chan struct{})}
	var leader sync.WaitGroup
	leader.Go(func() {
		r := gatehousetest.Request(slow, http.MethodGet, "http://example.com/", "203.0.113.7:1")
		if err := d.handler.ServeHTTP(slow, r, d.next); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the slow client's request arrives", func() bool { return d.asked.Load() == 1 })
	others := make(chan *httptest.ResponseRecorder, 1)
	go func() { others <- d.get("http://example.com/") }()
	select {
	case w := <-others:
		if w.Body.String() != "body" {
			t.Errorf("another client got %q, %v", w.Body, w.Header())
		}
	case <-time.After(within):
		t.Error("another client waits for the slow one")
	}
	close(slow.reads)
	leader.Wait()
	if slow.Body.String() != "body" || d.asked.Load() != 1 {
		t.Errorf("the slow client got %q, and the origin was asked %d times", slow.Body, d.asked.Load())
	}
}

// flushed is a client's writer that tells when content is flushed.
type flushed struct {
	http.ResponseWriter
	body strings.Builder
	told chan string
}

func (f *flushed) Write(p []byte) (int, error) { return f.body.Write(p) }

func (f *flushed) FlushError() error {
	select {
	case f.told <- f.body.String():
	default:
	}
	return nil
}

// What a handler flushes reaches the client before the handler ends, also if it is small.
func TestSmallAnswerIsFlushed(t *testing.T) {
	w := &flushed{ResponseWriter: httptest.NewRecorder(), told: make(chan string, 1)}
	d := newDirect(t, func(to http.ResponseWriter, _ *http.Request) {
		header("body", "Cache-Control: max-age=60", "Content-Length: 4")(to, nil)
		_ = http.NewResponseController(to).Flush()
		select {
		case got := <-w.told:
			if got != "body" {
				t.Errorf("%q is flushed", got)
			}
		case <-time.After(within):
			t.Error("nothing is flushed")
		}
	})
	r := gatehousetest.Request(w, http.MethodGet, "http://example.com/", "203.0.113.7:1")
	if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
		t.Error(err)
	}
}

// An answer that takes longer than one may take to be stored is not stored, and reaches its client whole all the same.
func TestLongAnswerIsWhole(t *testing.T) {
	const long = 10 * time.Minute // more than longestFill
	d := newDirect(t, func(w http.ResponseWriter, _ *http.Request) {
		header("first", "Cache-Control: max-age=3600")(w, nil)
		time.Sleep(long)
		_, _ = w.Write([]byte("second"))
	})
	synctest.Test(t, func(t *testing.T) {
		if w := d.get("http://example.com/"); w.Body.String() != "firstsecond" {
			t.Errorf("got %q", w.Body)
		}
	})
}
