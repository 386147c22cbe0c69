// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Bounds of a single stream.
const (
	maxEvents       = 100_000
	maxMessage      = 1 << 20 // bytes of a WebSocket message
	webSocketIdle   = 5 * time.Minute
	webSocketWrite  = time.Minute
	defaultEvents   = 5
	defaultInterval = 100 * time.Millisecond
)

// streams counts what is open, so that it stays bounded and can be ended. Make it with newStreams.
type streams struct {
	limit   int
	closing context.Context // ends when the listener closes
	end     context.CancelFunc

	mu   sync.Mutex // guards what follows
	n    int
	idle chan struct{} // closed once the listener closes and no stream is left
}

func newStreams(limit int) *streams {
	closing, end := context.WithCancel(context.Background())
	return &streams{limit: limit, closing: closing, end: end, idle: make(chan struct{})}
}

// enter reports whether one more may open. After true, leave must follow.
func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil || s.n >= s.limit {
		return false
	}
	s.n++
	return true
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n--
	if s.closing.Err() != nil && s.n == 0 {
		close(s.idle)
	}
}

func (s *streams) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// close tells the open ones to end and refuses new ones.
func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return
	}
	s.end()
	if s.n == 0 {
		close(s.idle)
	}
}

// enterStream answers 503 itself if no more streams may open.
func (l *Listener) enterStream(w http.ResponseWriter) bool {
	ok := l.streams.enter()
	if !ok {
		l.counts.refused.Add(1)
		http.Error(w, "no room for another stream", http.StatusServiceUnavailable)
	}
	return ok
}

// events is what an event stream sends.
type events struct {
	first, count int64
	interval     time.Duration
	message      string
}

// parseEvents reads ?count, ?interval and ?message. After a break the client's Last-Event-ID tells where to go on.
func parseEvents(q url.Values, lastID string) (events, error) {
	e := events{first: 1, interval: defaultInterval, message: "tick"}
	var err error
	if e.count, err = intParam(q, "count", defaultEvents, 1, maxEvents); err != nil {
		return e, err
	}
	if q.Has("interval") {
		if e.interval, err = parseWait(q.Get("interval")); err != nil {
			return e, fmt.Errorf("interval: %w", err)
		}
	}
	if q.Has("message") {
		e.message = q.Get("message")
	}
	if seen, err := strconv.ParseInt(lastID, 10, 64); err == nil && seen > 0 && seen <= e.count {
		e.first = seen + 1
	}
	return e, nil
}

// serveEvents sends server-sent events (WHATWG HTML, section 9.2).
func (l *Listener) serveEvents(w http.ResponseWriter, r *http.Request) {
	e, err := parseEvents(r.URL.Query(), r.Header.Get("Last-Event-ID"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !l.enterStream(w) {
		return
	}
	defer l.streams.leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(l.streams.closing, cancel)()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	if control.Flush() != nil || r.Method == http.MethodHead {
		return
	}
	// Every line of the message needs its own field name, whichever line end it has.
	data := strings.NewReplacer("\r\n", "\ndata: ", "\n", "\ndata: ", "\r", "\ndata: ").Replace(e.message)
	for id := e.first; id <= e.count; id++ {
		if id > e.first && sleep(ctx, e.interval) != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", id, data); err != nil || control.Flush() != nil {
			return
		}
	}
}

// serveWebSocket sends every message back (RFC 6455) until the client closes, is silent for five minutes, or the
// listener closes.
func (l *Listener) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !l.enterStream(w) {
		return
	}
	defer l.streams.leave()
	// Behind a proxy the browser's Origin rarely is this host. There is nothing here for another site to steal.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }() // a second close is harmless
	conn.SetReadLimit(maxMessage)

	// A read whose context ends breaks the connection without a close frame, so both ends come from beside it. Close
	// has its own deadline.
	idle := time.AfterFunc(webSocketIdle, func() { _ = conn.Close(websocket.StatusPolicyViolation, "idle") })
	defer idle.Stop()
	defer context.AfterFunc(l.streams.closing, func() { _ = conn.Close(websocket.StatusGoingAway, "closing") })()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		idle.Reset(webSocketIdle)
		if err := writeMessage(r.Context(), conn, kind, message); err != nil {
			return
		}
	}
}

func writeMessage(ctx context.Context, conn *websocket.Conn, kind websocket.MessageType, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, webSocketWrite)
	defer cancel()
	return conn.Write(ctx, kind, message)
}
