// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func start(t *testing.T, settings Settings) (*Listener, *Server) {
	t.Helper()
	l := newListener(t, Options{}, settings)
	s, err := Start(t.Context(), l, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, s
}

func stop(t *testing.T, s *Server, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return s.Stop(ctx)
}

// TestStopClosesWebSockets: clients are told, and Stop has waited for them.
func TestStopClosesWebSockets(t *testing.T) {
	l, s := start(t, Settings{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn := dial(t, ctx, s.URL())
	read := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(ctx)
		read <- err
	}()
	if err := stop(t, s, 5*time.Second); err != nil {
		t.Error(err)
	}
	if err := <-read; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the client read %v", err)
	}
	if open := l.Stats().Streams; open != 0 {
		t.Errorf("%d streams left", open)
	}
	if err := <-s.Done(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serving ended with %v", err)
	}
}

// TestStopLetsRequestsFinish: a request that is under way gets its answer.
func TestStopLetsRequestsFinish(t *testing.T) {
	l, s := start(t, Settings{})
	reader, writer := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/orders?key=k", reader)
		if err != nil {
			answered <- err
			return
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(r)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	if _, err := writer.Write([]byte("begun")); err != nil { // returns when the client has taken it up
		t.Fatal(err)
	}
	waitFor(t, func() bool { return l.Stats().InFlight == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- stop(t, s, 10*time.Second) }()
	<-l.streams.idle // Stop has begun
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-answered, <-stopped); err != nil {
		t.Error(err)
	}
	if n := l.App().Effects("k"); n != 1 {
		t.Errorf("%d effects", n)
	}
}

// TestStopCuts: a stalled request does not hold the stop up beyond its deadline.
func TestStopCuts(t *testing.T) {
	l, s := start(t, Settings{Stall: Duration(maxWait)})
	cut := make(chan error, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		_, _, err := send(t, client, "GET", s.URL()+"/")
		cut <- err
	}()
	waitFor(t, func() bool { return l.Stats().Stalled == 1 })
	began := time.Now()
	if err := stop(t, s, 100*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
	if err := <-cut; err == nil {
		t.Error("the stalled request got an answer")
	}
	waitFor(t, func() bool { return l.Stats().InFlight == 0 })
}

func TestStartRefuses(t *testing.T) {
	l, s := start(t, Settings{})
	defer func() {
		if err := stop(t, s, 5*time.Second); err != nil {
			t.Error(err)
		}
	}()
	_, err := Start(t.Context(), l, strings.TrimPrefix(s.URL(), "http://"))
	if err == nil || !strings.HasPrefix(err.Error(), "listening for a: ") {
		t.Errorf("error %v", err)
	}
}

// waitFor polls what another goroutine brings about, for at most ten seconds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("ten seconds passed in vain")
		}
	}
}
