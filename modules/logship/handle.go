// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// handles are what Caddy writes to, by the spool's directory. Caddy opens a writer once for each key and never closes it, so
// they live as long as the process, and find the core of the day.
var handles sync.Map

// handle is the writer that Caddy holds.
type handle struct {
	dir  string
	core atomic.Pointer[core]

	mu sync.Mutex // one late line at a time, and none while a core closes its spool
}

func handleFor(dir string) *handle {
	h, _ := handles.LoadOrStore(dir, &handle{dir: dir})
	return h.(*handle)
}

// Write takes one line, which it copies. It is called by every request, at once. A line that was dropped, by the options, is
// no error: it is counted, and an error would have Caddy print it.
func (h *handle) Write(line []byte) (int, error) {
	if c := h.core.Load(); c != nil {
		if c.write(bytes.TrimSuffix(line, []byte("\n"))) {
			return len(line), nil
		}
	}
	if err := h.late(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
		return 0, fmt.Errorf("output ship: no config writes to %s any more: %w", h.dir, err)
	}
	return len(line), nil
}

// Close does nothing, and is not called.
func (*handle) Close() error { return nil }

// late keeps a line that comes when its config is gone: a request, or a WebSocket, that went on for longer. It is shipped when
// a config has the spool again.
func (h *handle) late(line []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.core.Load(); c != nil && c.write(line) { // a new config came meanwhile
		return nil
	}
	s, _, err := spool.Open(h.dir, spool.Options{
		Segment: spool.MinSegment, MaxSize: math.MaxInt64, Full: spool.DropNewest, Sync: time.Minute, Unmapped: true,
	})
	if err != nil {
		return err
	}
	return errors.Join(s.Append(line), s.Close())
}

var _ io.WriteCloser = (*handle)(nil)
