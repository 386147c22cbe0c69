// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// window is how many bytes of an answer that is not stored after all are kept for its slowest reader.
	window = 1 << 20
	// pieceSize is how much of it is written at once.
	pieceSize = 32 << 10
	// stall is how long the slowest of several readers may hold up the others.
	stall = 10 * time.Second
)

var (
	errTruncated = errors.New("the answer ended before its end")
	errSlow      = errors.New("the client is too slow for the others that wait for the same answer")
	errAbandoned = errors.New("nobody waits for the answer any more")
)

// stream is a body while it comes in: one writer, and readers each at its own pace. It is kept whole while it may be
// stored. When it turns out too large for that it passes through a window, at the pace of the slowest reader.
type stream struct {
	mu      sync.Mutex
	body    *body
	size    int64 // bytes that have come
	limit   int64 // for size, while it may be stored
	passing bool  // it is not kept
	done    bool
	err     error // why it ended early
	// Of a body that passes: where that began, the window, and buffers for it.
	passedAt int64
	pieces   []piece
	spare    [][]byte
	dirty    bool          // a write of a piece failed, or still runs for a reader that was cut off: buffers are not used again
	room     chan struct{} // of capacity 1: wakes the writer; made when it waits first
	writes   bool          // the writer waits
	readers  []*reader
}

// piece is a part of the window.
type piece struct {
	at   int64
	data []byte
}

// reader is one client's place in a stream.
type reader struct {
	stream *stream
	pos    int64
	err    error
	failed error         // of the client's writer
	ready  chan struct{} // of capacity 1: wakes the reader; made when it waits first
	waits  bool
}

func newStream(b *body, limit int64) *stream {
	return &stream{body: b, limit: limit}
}

// wake has everybody who waits look again. It makes no garbage: large bodies wake often. The caller holds mu.
func (s *stream) wake() {
	for _, r := range s.readers {
		signal(&r.waits, r.ready)
	}
	s.wakeWriter()
}

// wakeWriter has the writer look again. The caller holds mu.
func (s *stream) wakeWriter() { signal(&s.writes, s.room) }

func signal(waits *bool, wake chan<- struct{}) {
	if !*waits {
		return
	}
	*waits = false
	select {
	case wake <- struct{}{}:
	default: // left over from a wait that ended otherwise
	}
}

// wait releases mu until it is woken, ctx ends or the timer fires, and takes it again.
func (s *stream) wait(ctx context.Context, waits *bool, woken *chan struct{}, timer <-chan time.Time) error {
	if *woken == nil {
		*woken = make(chan struct{}, 1)
	}
	*waits = true
	wake := *woken
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-wake:
		return nil
	case <-timer:
		return errSlow
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reader enters a reader. It reports false if the beginning is gone.
func (s *stream) reader() (*reader, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passing || s.err != nil || !s.body.acquire() {
		return nil, false
	}
	r := &reader{stream: s}
	s.readers = append(s.readers, r)
	return r, true
}

// remove forgets a reader. The caller holds mu.
func (s *stream) remove(r *reader) {
	s.readers = slices.DeleteFunc(s.readers, func(other *reader) bool { return other == r })
}

// leave ends a reader.
func (r *reader) leave() {
	s := r.stream
	s.mu.Lock()
	s.remove(r)
	s.dirty = s.dirty || r.failed != nil
	s.wake()
	if r.failed != nil {
		s.body.linger()
	}
	s.mu.Unlock()
	s.body.release()
}

// next waits for content at the reader's position and returns some of it: nil without an error is the end. more says that
// all that has come so far is in it, and that further content may take its time. The slice holds until the next call.
func (r *reader) next(ctx context.Context) (p []byte, more bool, err error) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case r.err != nil:
			return nil, false, r.err
		case r.pos < s.size:
			p = s.at(r.pos)
			return p, r.pos+int64(len(p)) == s.size && !s.done, nil
		case s.err != nil:
			return nil, false, s.err
		case s.done:
			return nil, false, nil
		}
		if err := s.wait(ctx, &r.waits, &r.ready, nil); err != nil {
			return nil, false, err
		}
	}
}

// at returns content from a position on. The caller holds mu.
func (s *stream) at(pos int64) []byte {
	if !s.passing {
		return s.body.at(pos, s.size)
	}
	if pos < s.passedAt {
		return s.body.at(pos, s.passedAt)
	}
	for _, p := range s.pieces {
		if pos < p.at+int64(len(p.data)) {
			return p.data[pos-p.at:]
		}
	}
	return nil
}

// advance says that the client has taken n bytes.
func (r *reader) advance(n int) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	r.pos += int64(n)
	s.wakeWriter()
}

// write appends content, waiting for readers if it is not kept.
func (s *stream) write(ctx context.Context, p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	written := 0
	for written < len(p) && !s.passing {
		n := s.keep(p[written:])
		written += n
		if n == 0 {
			s.passing, s.passedAt = true, s.size
		}
	}
	s.wake()
	for written < len(p) {
		n, err := s.pass(ctx, p[written:])
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// keep copies content into the body, and returns how much. The caller holds mu.
func (s *stream) keep(p []byte) int {
	if s.size+int64(len(p)) > s.limit {
		return 0
	}
	capacity := s.body.capacity()
	if s.size == capacity {
		// A quarter of what has come bounds the waste, in blocks of 4 KiB to 256 KiB.
		if !s.body.grow(int(min(max(s.size/4, 4<<10), slabSize))) {
			return 0
		}
		capacity = s.body.capacity()
	}
	n := copy(s.body.at(s.size, capacity), p)
	s.size += int64(n)
	return n
}

// pass puts content into the window once there is room. The caller holds mu.
func (s *stream) pass(ctx context.Context, p []byte) (int, error) {
	var patience <-chan time.Time // set once others are held up
	for {
		slowest := s.slowest()
		if slowest == nil {
			s.err = errAbandoned
			return 0, s.err
		}
		s.recycle(slowest.pos)
		if s.size-slowest.pos < window || s.size == s.passedAt { // what was kept before does not count
			return s.append(p), nil
		}
		if len(s.readers) > 1 && patience == nil {
			patience = time.After(stall)
		}
		switch err := s.wait(ctx, &s.writes, &s.room, patience); {
		case errors.Is(err, errSlow):
			slowest.err, s.dirty = errSlow, true
			s.remove(slowest)
			s.wake()
			patience = nil
		case err != nil:
			s.err = err
			return 0, err
		}
	}
}

// append adds a piece to the window. The caller holds mu.
func (s *stream) append(p []byte) int {
	var data []byte
	if n := len(s.spare); n > 0 {
		data, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		data = make([]byte, pieceSize)
	}
	n := copy(data, p)
	s.pieces = append(s.pieces, piece{at: s.size, data: data[:n]})
	s.size += int64(n)
	s.wake()
	return n
}

// recycle takes the pieces out of the window that every reader has behind it. The caller holds mu.
func (s *stream) recycle(pos int64) {
	for len(s.pieces) > 0 && s.pieces[0].at+int64(len(s.pieces[0].data)) <= pos {
		if !s.dirty {
			s.spare = append(s.spare, s.pieces[0].data[:pieceSize])
		}
		s.pieces = s.pieces[1:]
	}
}

// slowest is the reader that is furthest behind, or nil. The caller holds mu.
func (s *stream) slowest() (last *reader) {
	for _, r := range s.readers {
		if last == nil || r.pos < last.pos {
			last = r
		}
	}
	return last
}

// finish ends the stream; err is why it ended early, or nil. It reports whether the body is whole and kept.
func (s *stream) finish(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done && s.err == nil {
		s.done, s.err = true, err
		s.body.size = s.size
	}
	s.wake()
	return s.err == nil && !s.passing
}

// length is how much has come.
func (s *stream) length() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}
