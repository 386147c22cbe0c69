// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestEvents(t *testing.T) {
	for _, test := range []struct{ target, lastID, want string }{
		{"/sse?count=2&interval=0s", "", "id: 1\ndata: tick\n\nid: 2\ndata: tick\n\n"},
		{"/sse?count=1&message=hello+you", "", "id: 1\ndata: hello you\n\n"},
		{"/sse?count=1&message=a%0Ab%0D%0Ac%0Dd", "", "id: 1\ndata: a\ndata: b\ndata: c\ndata: d\n\n"},
		{"/sse?count=3&interval=0s", "2", "id: 3\ndata: tick\n\n"},
		{"/sse?count=2&interval=0s", "2", ""},
		{"/sse?count=1", "none", "id: 1\ndata: tick\n\n"},
	} {
		t.Run(test.target, func(t *testing.T) {
			l := newListener(t, Options{}, Settings{})
			w := do(t, l, "GET", test.target, "", "Last-Event-ID", test.lastID)
			wantStatus(t, w, http.StatusOK)
			if w.Body.String() != test.want || w.Header().Get("Content-Type") != "text/event-stream" {
				t.Errorf("%q, headers %v", w.Body, w.Header())
			}
			if open := l.Stats().Streams; open != 0 {
				t.Errorf("%d streams left", open)
			}
		})
	}
}

func TestEventsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		do(t, newListener(t, Options{}, Settings{}), "GET", "/sse?count=4&interval=1s", "")
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// TestEventsArriveOneByOne: the first event is there long before the last is due.
func TestEventsArriveOneByOne(t *testing.T) {
	l := newListener(t, Options{}, Settings{Workers: 1})
	url, client := serveReal(t, l)
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/sse?count=2&interval=10m&message=first", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for _, want := range []string{"id: 1\n", "data: first\n", "\n"} {
		if line, err := lines.ReadString('\n'); line != want || err != nil {
			t.Fatalf("%q, %v; want %q", line, err, want)
		}
	}
	// It is counted, and does not keep the one worker.
	if s := l.Stats(); s.Streams != 1 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	if _, _, err := send(t, client, "GET", url+"/"); err != nil {
		t.Error(err)
	}
	l.Close()
	if rest, err := lines.ReadString('\n'); rest != "" || !errors.Is(err, io.EOF) {
		t.Errorf("after Close: %q, %v", rest, err)
	}
}

func TestStreamLimit(t *testing.T) {
	l := newListener(t, Options{MaxStreams: 1}, Settings{})
	if !l.streams.enter() {
		t.Fatal("no room for the first")
	}
	wantStatus(t, do(t, l, "GET", "/sse", ""), http.StatusServiceUnavailable)
	wantStatus(t, do(t, l, "GET", "/ws", ""), http.StatusServiceUnavailable)
	l.Close()
	l.Close() // a second time is harmless
	select {
	case <-l.streams.idle:
		t.Error("idle with one stream open")
	default:
	}
	l.streams.leave()
	<-l.streams.idle
	wantStatus(t, do(t, l, "GET", "/sse", ""), http.StatusServiceUnavailable)
}

func dial(t *testing.T, ctx context.Context, url string) *websocket.Conn {
	t.Helper()
	conn, response, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() }) // closed twice where the test closes it
	if response.Header.Get("X-Origin") != "a" {
		t.Errorf("headers %v", response.Header)
	}
	conn.SetReadLimit(2 * maxMessage)
	return conn
}

func TestWebSocket(t *testing.T) {
	l := newListener(t, Options{}, Settings{Workers: 1})
	url, client := serveReal(t, l)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn := dial(t, ctx, url)
	binary := make([]byte, maxMessage)
	if _, err := rand.Read(binary); err != nil {
		t.Fatal(err)
	}
	for _, message := range []struct {
		kind websocket.MessageType
		data string
	}{
		{websocket.MessageText, "hello"}, {websocket.MessageText, ""}, {websocket.MessageBinary, string(binary)},
	} {
		if err := conn.Write(ctx, message.kind, []byte(message.data)); err != nil {
			t.Fatal(err)
		}
		kind, data, err := conn.Read(ctx)
		if err != nil || kind != message.kind || string(data) != message.data {
			t.Fatalf("%s of %d bytes came back as %s of %d, %v", message.kind, len(message.data), kind, len(data), err)
		}
	}
	if _, _, err := send(t, client, "GET", url+"/"); err != nil {
		t.Errorf("the one worker is busy: %v", err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestWebSocketMessageTooLarge(t *testing.T) {
	url, _ := serveReal(t, newListener(t, Options{}, Settings{}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn := dial(t, ctx, url)
	if err := conn.Write(ctx, websocket.MessageBinary, make([]byte, maxMessage+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("error %v", err)
	}
}

// pipes is a network inside a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p.conns <- far
	return near, nil
}

// TestWebSocketIdle: five minutes of silence end it, and each message begins them anew.
func TestWebSocketIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: newListener(t, Options{}, Settings{}), ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(network) }() // always ends with an error
		client := &http.Client{Transport: &http.Transport{DialContext: network.dial}}
		conn, _, err := websocket.Dial(t.Context(), "ws://a/ws", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(webSocketIdle - time.Second)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("still here")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, _, err = conn.Read(t.Context())
		if took := time.Since(began); websocket.CloseStatus(err) != websocket.StatusPolicyViolation || took != webSocketIdle {
			t.Errorf("%v after %s", err, took)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
}
