// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// streams are WebSockets and event streams through proxies and to upstreams that are not killed.
type streams struct {
	*world
	end     context.Context // when they may be cut
	running sync.WaitGroup
	open    atomic.Int64
}

// echoTimeout is how long a WebSocket may be silent after a message.
const echoTimeout = 15 * time.Second

// choiceTimeout is how long a proxy may send all streams to one upstream: one that stood still, as everything may on a busy
// machine, comes back to its share within half a minute.
const choiceTimeout = time.Minute

// openStreams opens all of them, half of each kind.
func (w *world) openStreams(ctx context.Context, end context.Context) (*streams, error) {
	s := &streams{world: w, end: end}
	slots := make(chan struct{}, 16)
	failed := make(chan error, w.streams)
	var group sync.WaitGroup
	for i := range w.streams {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			p := w.proxies[1+i/2%(proxies-1)]
			open := s.webSocket
			if i%2 == 1 {
				open = s.events
			}
			for deadline := time.Now().Add(choiceTimeout); ; {
				wrong, err := open(ctx, p)
				if err == nil && wrong && time.Now().After(deadline) {
					err = fmt.Errorf("the proxy chooses one upstream only, for %v", choiceTimeout)
				}
				if err != nil {
					failed <- fmt.Errorf("opening a stream: %w", err)
					return
				}
				if !wrong {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return s, err
	default:
		return s, nil
	}
}

// atMortal reports whether a stream goes to the upstream that will be killed: its end says nothing of the proxy.
func (s *streams) atMortal(answer http.Header) bool {
	return answer.Get("X-Origin") == s.origins[mortal].name
}

// elsewhere reports whether a stream must be opened again. The control keeps those at the upstream that will be killed, as
// least_conn would choose it for ever if it had no streams; their end does not count.
func (s *streams) elsewhere(answer http.Header) bool {
	return !s.control && s.atMortal(answer)
}

// cut notes the end of a stream.
func (s *streams) cut(kind string, p *proxy, answer http.Header, err error) {
	s.open.Add(-1)
	if s.end.Err() == nil && !s.atMortal(answer) {
		s.found.cut.note("during %s: %s through proxy %d: %v", s.phase.Load(), kind, p.number, err)
	}
}

func (s *streams) webSocket(ctx context.Context, p *proxy) (wrong bool, err error) {
	conn, answer, err := websocket.Dial(ctx, "ws://"+p.address+"/ws", &websocket.DialOptions{Host: site})
	if err != nil {
		return false, err
	}
	if s.elsewhere(answer.Header) {
		return true, conn.CloseNow()
	}
	s.open.Add(1)
	s.running.Go(func() {
		defer func() { _ = conn.CloseNow() }() // a second close is harmless
		for n := 0; ; n++ {
			if err := echo(s.end, conn, fmt.Sprint(n)); err != nil {
				s.cut("a WebSocket", p, answer.Header, err)
				return
			}
			select {
			case <-s.end.Done():
				s.cut("a WebSocket", p, answer.Header, nil)
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	return false, nil
}

// echo sends a message and waits until it comes back.
func echo(ctx context.Context, conn *websocket.Conn, text string) error {
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, got, err := conn.Read(ctx)
	if err == nil && string(got) != text {
		err = fmt.Errorf("sent %q, got %q", text, got)
	}
	return err
}

func (s *streams) events(_ context.Context, p *proxy) (wrong bool, err error) {
	req, err := http.NewRequestWithContext(s.end, http.MethodGet, "http://"+p.address+"/sse?count=100000&interval=500ms", nil)
	if err != nil {
		return false, err
	}
	req.Host = site
	transport := &http.Transport{}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false, err
	}
	if s.elsewhere(resp.Header) || resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if resp.StatusCode != http.StatusOK {
			return false, fmt.Errorf("status %d", resp.StatusCode)
		}
		return true, nil
	}
	s.open.Add(1)
	s.running.Go(func() {
		defer transport.CloseIdleConnections()
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		s.cut("an event stream", p, resp.Header, err)
	})
	return false, nil
}
