// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestEcho(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	w := do(t, l, "POST", "/echo/some/path?q=1", "hello", "X-Forwarded-For", "203.0.113.7")
	wantStatus(t, w, http.StatusOK)
	if w.Header().Get("X-Origin") != "a" {
		t.Errorf("headers %v", w.Header())
	}
	got := decode[echo](t, w.Body)
	if got.Name != "a" || got.Method != "POST" || got.URI != "/echo/some/path?q=1" || got.Host != "example.com" ||
		got.Protocol != "HTTP/1.1" || got.BodyBytes != 5 || got.Headers.Get("X-Forwarded-For") != "203.0.113.7" {
		t.Errorf("%+v", got)
	}
	wantStatus(t, do(t, l, "DELETE", "/", ""), http.StatusOK)
}

func TestStatuses(t *testing.T) {
	l := newListener(t, Options{MaxBody: 10}, Settings{})
	for _, test := range []struct {
		request string
		status  int
	}{
		{"GET /status/200", 200},
		{"POST /status/204", 204},
		{"GET /status/304", 304},
		{"GET /status/503", 503},
		{"GET /status/199", 400},
		{"GET /status/600", 400},
		{"GET /status/ok", 400},
		{"GET /nowhere", 404},
		{"PUT /orders", 405},
		{"POST /sse", 405},
		{"GET /delay/0s", 200},
		{"GET /delay/1", 400},
		{"GET /delay/11m", 400},
		{"GET /healthz", 200},
		{"GET /cache/nothing", 404},
		{"POST /cache/nothing", 404},
		{"GET /cache/etag?age=-1", 400},
		{"GET /cache/etag?size=x", 400},
		{"GET /bytes/-1", 400},
		{"GET /bytes/4294967297", 400},
		{"GET /bytes/10?chunked&piece=0", 400},
		{"GET /bytes/10?chunked&pause=1h", 400},
		{"GET /sse?count=0", 400},
		{"GET /sse?interval=x", 400},
		{"GET /ws", 426},
	} {
		t.Run(test.request, func(t *testing.T) {
			method, target, _ := strings.Cut(test.request, " ")
			w := do(t, l, method, target, "")
			wantStatus(t, w, test.status)
			if w.Header().Get("X-Origin") != "a" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(t, Options{}, Settings{Latency: "const:1s"})
		began := time.Now()
		w := do(t, l, "GET", "/delay/2s", "")
		wantStatus(t, w, http.StatusOK)
		if took := time.Since(began); took != 3*time.Second || w.Body.String() != "waited 2s\n" {
			t.Errorf("took %s, body %q", took, w.Body)
		}
	})
}

func TestUnhealthy(t *testing.T) {
	l := newListener(t, Options{}, Settings{Unhealthy: true})
	wantStatus(t, do(t, l, "GET", "/healthz", ""), http.StatusServiceUnavailable)
	wantStatus(t, do(t, l, "GET", "/", ""), http.StatusOK)
}

func TestBodyTooLarge(t *testing.T) {
	l := newListener(t, Options{MaxBody: 10}, Settings{})
	for _, target := range []string{"/", "/orders?key=k", "/ingest"} {
		wantStatus(t, do(t, l, "POST", target, strings.Repeat("x", 10)), map[string]int{
			"/": 200, "/orders?key=k": 201, "/ingest": 204,
		}[target])
		wantStatus(t, do(t, l, "POST", target, strings.Repeat("x", 11)), http.StatusRequestEntityTooLarge)
	}
	if n := l.App().Effects("k"); n != 1 {
		t.Errorf("%d effects", n)
	}
}

// TestBrokenBody: a request that breaks off takes no effect.
func TestBrokenBody(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	for _, target := range []string{"/", "/orders?key=k", "/ingest"} {
		body := io.MultiReader(strings.NewReader("line\n"), brokenReader{})
		w := httptest.NewRecorder()
		l.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", target, body))
		wantStatus(t, w, http.StatusBadRequest)
	}
	if l.App().Effects("k") != 0 || l.App().Ingested() != (Ingested{Refused: 1}) {
		t.Errorf("%d effects, %+v", l.App().Effects("k"), l.App().Ingested())
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken off") }

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a b", "a\n", "ä", strings.Repeat("x", 65)} {
		if _, err := NewApp(Options{}).Listener(name, Settings{}); err == nil {
			t.Errorf("name %q passed", name)
		}
	}
	_, err := New(Settings{Latency: "quick"})
	if err == nil || !strings.HasPrefix(err.Error(), "listener origin: latency") {
		t.Errorf("error %v", err)
	}
}
